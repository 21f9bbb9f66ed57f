from pymongo.synchronous.command_runner import *
