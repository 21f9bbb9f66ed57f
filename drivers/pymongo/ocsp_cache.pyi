from pymongo.ocsp_cache import *
