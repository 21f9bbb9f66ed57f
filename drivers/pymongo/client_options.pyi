from pymongo.client_options import *
