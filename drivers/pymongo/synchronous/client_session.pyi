from pymongo.synchronous.client_session import *
