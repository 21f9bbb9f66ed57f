from pymongo.synchronous.auth_aws import *
