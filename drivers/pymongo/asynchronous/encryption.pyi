from pymongo.asynchronous.encryption import *
