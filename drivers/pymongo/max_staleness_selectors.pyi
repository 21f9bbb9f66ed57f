from pymongo.max_staleness_selectors import *
