from pymongo.collation import *
