from pymysql.err import *
