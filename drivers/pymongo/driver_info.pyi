from pymongo.driver_info import *
