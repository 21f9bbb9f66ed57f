from pymongo.synchronous.topology import *
