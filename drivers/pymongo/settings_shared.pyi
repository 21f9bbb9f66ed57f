from pymongo.settings_shared import *
