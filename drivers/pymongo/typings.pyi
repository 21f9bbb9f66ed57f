from pymongo.typings import *
