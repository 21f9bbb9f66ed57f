from pymongo.topology_shared import *
