from psycopg.types.hstore import *
