from pymysql.protocol import *
