from psycopg.types.array import *
