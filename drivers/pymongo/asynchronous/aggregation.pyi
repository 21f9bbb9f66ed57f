from pymongo.asynchronous.aggregation import *
