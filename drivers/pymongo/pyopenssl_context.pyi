from pymongo.pyopenssl_context import *
