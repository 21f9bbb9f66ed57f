from pymongo.auth_oidc_shared import *
