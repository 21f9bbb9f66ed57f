from pymongo.hello import *
