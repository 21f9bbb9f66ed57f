from pymysql.constants.SERVER_STATUS import *
