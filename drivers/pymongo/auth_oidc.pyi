from pymongo.auth_oidc import *
