from pymongo.ocsp_support import *
