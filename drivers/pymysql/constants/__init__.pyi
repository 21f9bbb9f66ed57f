from pymysql.constants import *
