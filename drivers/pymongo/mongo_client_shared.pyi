from pymongo.mongo_client_shared import *
