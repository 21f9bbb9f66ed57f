from psycopg.types.shapely import *
