from psycopg.types.json import *
