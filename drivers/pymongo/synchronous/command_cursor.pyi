from pymongo.synchronous.command_cursor import *
