from pymongo.asynchronous.client_session import *
