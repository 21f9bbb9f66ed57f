from pymongo.periodic_executor import *
