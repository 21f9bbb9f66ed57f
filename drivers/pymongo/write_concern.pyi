from pymongo.write_concern import *
