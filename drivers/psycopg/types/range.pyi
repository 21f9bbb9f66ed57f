from psycopg.types.range import *
