from pymongo.asynchronous.collection import *
