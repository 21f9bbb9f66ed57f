from pymongo.synchronous.auth_oidc import *
