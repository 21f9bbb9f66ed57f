from pymysql.constants.ER import *
