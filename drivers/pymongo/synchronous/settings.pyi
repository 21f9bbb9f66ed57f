from pymongo.synchronous.settings import *
