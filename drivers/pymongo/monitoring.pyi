from pymongo.monitoring import *
