from pymongo.asynchronous.command_cursor import *
