from pymongo.operations import *
