from pymongo.asynchronous.topology import *
