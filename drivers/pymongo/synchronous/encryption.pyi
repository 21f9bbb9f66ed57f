from pymongo.synchronous.encryption import *
