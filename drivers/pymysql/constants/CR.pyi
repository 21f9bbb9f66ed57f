from pymysql.constants.CR import *
