from pymysql.converters import *
