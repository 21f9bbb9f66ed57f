from pymongo.server_type import *
