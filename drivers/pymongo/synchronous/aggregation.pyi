from pymongo.synchronous.aggregation import *
