from pymongo.response import *
