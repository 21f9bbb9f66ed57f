from psycopg.types.none import *
