from pymongo.synchronous.cursor_base import *
