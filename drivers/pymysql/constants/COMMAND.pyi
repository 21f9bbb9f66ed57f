from pymysql.constants.COMMAND import *
