from pymongo.collection import *
