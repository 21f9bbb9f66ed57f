from pymongo.lock import *
