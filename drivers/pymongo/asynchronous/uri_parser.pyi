from pymongo.asynchronous.uri_parser import *
