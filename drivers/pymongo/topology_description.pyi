from pymongo.topology_description import *
