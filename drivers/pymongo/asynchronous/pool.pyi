from pymongo.asynchronous.pool import *
