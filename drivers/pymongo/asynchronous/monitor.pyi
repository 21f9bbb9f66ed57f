from pymongo.asynchronous.monitor import *
