from psycopg.dbapi20 import *
