from pymongo.daemon import *
