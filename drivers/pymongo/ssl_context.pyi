from pymongo.ssl_context import *
