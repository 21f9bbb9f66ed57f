from pymongo.change_stream_shared import *
