from pymongo.synchronous.srv_resolver import *
