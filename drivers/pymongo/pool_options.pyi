from pymongo.pool_options import *
