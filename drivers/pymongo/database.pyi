from pymongo.database import *
