from pymongo.asynchronous.auth_aws import *
