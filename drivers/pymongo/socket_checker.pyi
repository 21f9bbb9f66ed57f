from pymongo.socket_checker import *
