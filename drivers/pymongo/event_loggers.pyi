from pymongo.event_loggers import *
