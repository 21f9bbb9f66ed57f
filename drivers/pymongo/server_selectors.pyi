from pymongo.server_selectors import *
