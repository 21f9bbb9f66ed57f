from pymysql.constants.CLIENT import *
