from pymongo.asynchronous.srv_resolver import *
