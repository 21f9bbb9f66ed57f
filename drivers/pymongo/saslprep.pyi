from pymongo.saslprep import *
