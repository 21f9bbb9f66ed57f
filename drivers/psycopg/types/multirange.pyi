from psycopg.types.multirange import *
