from pymongo.read_preferences import *
