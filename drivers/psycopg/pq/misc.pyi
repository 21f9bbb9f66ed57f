from psycopg.pq.misc import *
