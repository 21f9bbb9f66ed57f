from pymongo.asynchronous.server import *
