from pymongo.auth import *
