from pymongo.helpers_shared import *
