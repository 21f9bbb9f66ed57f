from pymongo.asynchronous.command_runner import *
