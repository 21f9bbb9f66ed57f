from psycopg.types.enum import *
