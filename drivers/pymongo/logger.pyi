from pymongo.logger import *
