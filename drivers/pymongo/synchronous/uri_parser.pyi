from pymongo.synchronous.uri_parser import *
