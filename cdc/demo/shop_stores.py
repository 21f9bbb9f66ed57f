"""The engines that the shop runs on, each loaded only where it is wanted."""

from .shop_database import Store


def open_store(url: str) -> Store:
    """A connection to `postgresql://…`, `mysql://…`, `mariadb://…` or `mongodb://…`."""
    if url.startswith("postgresql:"):
        from .shop_postgres import PostgresStore

        return PostgresStore(url)
    if url.startswith("mongodb:"):
        from .shop_mongodb import MongoStore

        return MongoStore(url)
    from .shop_mysql import MySqlStore

    return MySqlStore(url)
