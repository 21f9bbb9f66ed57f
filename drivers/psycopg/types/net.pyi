from psycopg.types.net import *
