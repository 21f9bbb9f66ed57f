from pymongo.asynchronous.client_bulk import *
