"""App schemas: read from files, drafted, kept in the log."""
