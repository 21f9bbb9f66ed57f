from pymongo.network_layer import *
