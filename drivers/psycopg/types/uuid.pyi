from psycopg.types.uuid import *
