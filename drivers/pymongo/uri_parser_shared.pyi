from pymongo.uri_parser_shared import *
