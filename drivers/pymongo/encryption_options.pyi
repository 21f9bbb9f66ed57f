from pymongo.encryption_options import *
