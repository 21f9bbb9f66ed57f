from pymongo.asynchronous.bulk import *
