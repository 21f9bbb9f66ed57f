from pymongo.results import *
