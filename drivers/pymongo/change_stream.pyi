from pymongo.change_stream import *
