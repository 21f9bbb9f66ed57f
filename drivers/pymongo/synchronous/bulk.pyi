from pymongo.synchronous.bulk import *
