from pymongo.synchronous.auth import *
