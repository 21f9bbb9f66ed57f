from pymongo.synchronous.client_bulk import *
