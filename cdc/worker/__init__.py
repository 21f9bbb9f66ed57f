"""The worker: whole transactions in, commits of the log out."""
