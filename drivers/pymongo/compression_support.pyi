from pymongo.compression_support import *
