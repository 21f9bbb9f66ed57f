from pymongo.read_concern import *
