from pymongo.encryption_shared import *
