from pymongo.asynchronous.helpers import *
