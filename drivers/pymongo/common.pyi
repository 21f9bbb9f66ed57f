from pymongo.common import *
