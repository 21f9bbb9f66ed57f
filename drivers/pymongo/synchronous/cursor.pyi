from pymongo.synchronous.cursor import *
