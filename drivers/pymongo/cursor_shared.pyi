from pymongo.cursor_shared import *
