from pymongo.synchronous.database import *
