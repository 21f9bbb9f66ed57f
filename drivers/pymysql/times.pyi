from pymysql.times import *
