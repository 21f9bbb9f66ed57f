from psycopg.postgres import *
