from pymysql.constants.FIELD_TYPE import *
