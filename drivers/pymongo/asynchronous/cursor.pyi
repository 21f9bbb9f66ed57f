from pymongo.asynchronous.cursor import *
