from pymongo.client_session import *
