from pymongo.asynchronous.auth_oidc import *
