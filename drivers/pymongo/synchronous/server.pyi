from pymongo.synchronous.server import *
