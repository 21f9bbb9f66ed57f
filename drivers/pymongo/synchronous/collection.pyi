from pymongo.synchronous.collection import *
