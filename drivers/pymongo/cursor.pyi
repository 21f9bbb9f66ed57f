from pymongo.cursor import *
