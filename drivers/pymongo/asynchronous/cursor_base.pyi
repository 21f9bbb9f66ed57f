from pymongo.asynchronous.cursor_base import *
