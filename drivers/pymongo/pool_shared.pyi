from pymongo.pool_shared import *
