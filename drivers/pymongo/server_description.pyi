from pymongo.server_description import *
