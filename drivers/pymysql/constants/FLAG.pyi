from pymysql.constants.FLAG import *
