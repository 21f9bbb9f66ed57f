from pymongo.asynchronous.settings import *
