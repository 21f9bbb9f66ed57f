from pymongo.synchronous.pool import *
