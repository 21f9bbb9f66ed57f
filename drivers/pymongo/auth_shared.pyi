from pymongo.auth_shared import *
