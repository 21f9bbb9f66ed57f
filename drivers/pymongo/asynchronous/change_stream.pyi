from pymongo.asynchronous.change_stream import *
