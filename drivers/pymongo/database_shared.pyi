from pymongo.database_shared import *
