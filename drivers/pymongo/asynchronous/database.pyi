from pymongo.asynchronous.database import *
