from pymongo.asynchronous.auth import *
