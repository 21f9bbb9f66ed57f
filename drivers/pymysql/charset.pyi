from pymysql.charset import *
