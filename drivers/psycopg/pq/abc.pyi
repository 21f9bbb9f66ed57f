from psycopg.pq.abc import *
