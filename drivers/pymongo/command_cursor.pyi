from pymongo.command_cursor import *
