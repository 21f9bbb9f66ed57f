from pymongo.server_api import *
