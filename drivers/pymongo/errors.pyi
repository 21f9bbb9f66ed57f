from pymongo.errors import *
