from psycopg.types.datetime import *
