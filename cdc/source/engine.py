"""What commands need of a source beside its stream, whatever its engine: which it is, the source's address says.

The drivers are loaded here only, so that a `--help` needs none, and a source none but its own.
"""

from contextlib import closing
from typing import Any, Protocol

from ..app_schemas.draft import draft, draft_collections
from ..config import Config
from ..database_url import engine_of
from ..tail.table import Table
from .provision import Provision


class Tables(Protocol):
    """A connection that describes tables."""

    def tables(self) -> list[Table]:
        """All tables that are the app's, by name. Raises Unreachable or Refused."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


def columns_of(url: str) -> dict[str, list[str]]:
    """The tables of a source by quoted name, with their columns; of collections, none.

    Raises:
        Unreachable: The source does not answer.
        Refused: It refuses us.
    """
    if engine_of(url) == "mongodb":
        from ..tail.mongodb_catalog import Catalog

        with closing(Catalog(url)) as catalog:
            return {found.quoted: [] for found in catalog.collections(catalog.address.database)}
    with closing(_open_tables(url)) as tables:
        return {table.quoted: [column.name for column in table.columns] for table in tables.tables()}


def draft_of(url: str, *, app: str) -> str:
    """A first app schema of a source: of its tables, or of some documents of each of its collections.

    Raises:
        Unreachable: The source does not answer.
        Refused: It refuses us, or has nothing that can be recorded.
    """
    if engine_of(url) == "mongodb":
        from ..tail.mongodb_catalog import Catalog
        from .mongodb.sampling import samples

        with closing(Catalog(url)) as catalog:
            return draft_collections(samples(catalog), app=app)
    with closing(_open_tables(url)) as tables:
        return draft(tables.tables(), app=app)


def _open_tables(url: str) -> Tables:
    if engine_of(url) == "postgresql":
        from ..tail.catalog import Catalog

        return Catalog(url)
    from ..tail.mysql_catalog import Catalog as MysqlCatalog

    return MysqlCatalog(url)


def open_provision(config: Config) -> Provision[Any]:
    """What is made on the source of a configuration."""
    if config.source.engine == "postgresql":
        from .postgres_provision import PostgresProvision

        return PostgresProvision(config)
    if config.source.engine == "mongodb":
        from .mongodb.provision import MongodbProvision

        return MongodbProvision(config)
    from .mysql.provision import MysqlProvision

    return MysqlProvision(config)
