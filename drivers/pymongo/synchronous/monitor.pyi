from pymongo.synchronous.monitor import *
