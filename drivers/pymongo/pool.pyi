from pymongo.pool import *
