from pymongo.bulk_shared import *
