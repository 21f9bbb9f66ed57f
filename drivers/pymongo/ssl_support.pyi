from pymongo.ssl_support import *
