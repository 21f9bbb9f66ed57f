from pymongo.message import *
