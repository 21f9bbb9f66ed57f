"""The engines that the demo plays on, each loaded only where it is played: its library takes a while."""

from .engine import Engine

ENGINES = ("postgresql", "mysql", "mariadb", "mongodb")


def engine_named(name: str) -> Engine:
    """The engine of a name out of `ENGINES`."""
    if name == "postgresql":
        from .engine_postgres import PostgresEngine

        return PostgresEngine()
    if name == "mongodb":
        from .engine_mongodb import MongoEngine

        return MongoEngine()
    from .engine_mysql import MariaDbEngine, MySqlEngine

    return MySqlEngine() if name == "mysql" else MariaDbEngine()
