from pymongo.synchronous.helpers import *
