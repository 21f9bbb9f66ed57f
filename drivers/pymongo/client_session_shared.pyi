from pymongo.client_session_shared import *
