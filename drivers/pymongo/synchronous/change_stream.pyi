from pymongo.synchronous.change_stream import *
