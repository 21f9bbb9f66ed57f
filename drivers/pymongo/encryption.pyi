from pymongo.encryption import *
