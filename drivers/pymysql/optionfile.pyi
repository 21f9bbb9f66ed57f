from pymysql.optionfile import *
