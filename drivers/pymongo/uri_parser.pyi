from pymongo.uri_parser import *
