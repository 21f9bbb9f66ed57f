"""What commands need of a source beside its stream, whatever its engine: which it is, the source's address says.

The drivers are loaded here only, so that a `--help` needs none, and a source none but its own.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Protocol

from ...schemas.errors import UsageError
from ...transforms.registry import Registry
from ...transforms.table_name import quoted
from ..app_schemas.draft import draft, draft_collections
from ..config import Config
from ..database_url import engine_of
from ..tail.table import Table
from .step import Step


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


class Provision(ABC):
    """What is made on a source, and taken back. To be closed.

    Attributes:
        comment: What begins a comment in the language of the steps.
        leftover: What stays behind after `teardown_steps`, one sentence.
        nothing: What is not there where there is nothing to take back.
    """

    comment: str = "--"
    leftover: str
    nothing: str

    @abstractmethod
    def close(self) -> None:
        """Close all connections."""

    @abstractmethod
    def setup_steps(self, registry: Registry) -> list[Step]:
        """What is missing for the app schemas' tables to be tailed. Raises Refused or Unreachable."""

    @abstractmethod
    def grant_steps(self, registry: Registry, role: str) -> list[Step]:
        """What a role lacks to be the worker's."""

    @abstractmethod
    def app_steps(self, user: str) -> list[Step]:
        """What an app's role lacks to tag its transactions. Raises UsageError where none lacks anything."""

    @abstractmethod
    def teardown_steps(self) -> list[Step]:
        """What there is to take back."""

    @abstractmethod
    def execute(self, step: Step, *, say: Callable[[str], None]) -> None:
        """Do one step; `say` is told what is waited for. Raises Refused or Unreachable."""

    @abstractmethod
    def note_begin(self) -> None:
        """After the steps are done: see to it that a log which has not begun will have everything from here on. Raises Unreachable."""

    @abstractmethod
    def missing_tables(self, registry: Registry) -> Iterator[str]:
        """The tables that app schemas map and that do not exist, one sentence each."""


def open_provision(config: Config) -> Provision:
    """What is made on the source of a configuration."""
    made = {"postgresql": PostgresProvision, "mongodb": MongodbProvision}
    return made.get(config.source.engine, MysqlProvision)(config)


class PostgresProvision(Provision):
    """A publication, a slot, replica identities, event triggers."""

    leftover = "the tables keep REPLICA IDENTITY FULL; set it back with ALTER TABLE … REPLICA IDENTITY DEFAULT"
    nothing = "neither slot nor publication is there"

    def __init__(self, config: Config) -> None:
        from ..tail.catalog import Catalog
        from . import provisioning

        self._config, self._do = config, provisioning
        self._catalog = Catalog(config.source.conninfo())

    def close(self) -> None:
        """As the base says."""
        self._catalog.close()

    def setup_steps(self, registry: Registry) -> list[Step]:
        """As the base says."""
        return self._do.setup_steps(self._catalog, self._config.source, registry)

    def grant_steps(self, registry: Registry, role: str) -> list[Step]:
        """As the base says."""
        return self._do.grant_steps(self._catalog, registry, role)

    def app_steps(self, user: str) -> list[Step]:
        """As the base says."""
        raise UsageError(f"role {user!r} needs nothing: on PostgreSQL every role may tag", hint="leave out --app-role")

    def teardown_steps(self) -> list[Step]:
        """As the base says."""
        return self._do.teardown_steps(self._catalog, self._config.source)

    def execute(self, step: Step, *, say: Callable[[str], None]) -> None:
        """As the base says."""
        self._do.execute(self._catalog, step, say=say)

    def note_begin(self) -> None:
        """Nothing: the slot does."""

    def missing_tables(self, registry: Registry) -> Iterator[str]:
        """As the base says, with what a worker remembers of them."""
        from .table_watch import missing_tables

        return missing_tables(self._config.tables_path, self._catalog, registry)


class MysqlProvision(Provision):
    """The stamp, and settings of the binary log."""

    leftover = "the settings of the binary log stay as they are"
    nothing = "there is no table commitlog.stamp"

    def __init__(self, config: Config) -> None:
        from ..tail.mysql_catalog import Catalog
        from .mysql import provisioning

        self._do, self._config = provisioning, config
        self._catalog = Catalog(config.source.conninfo())

    def close(self) -> None:
        """As the base says."""
        self._catalog.close()

    def setup_steps(self, registry: Registry) -> list[Step]:
        """As the base says."""
        return self._do.setup_steps(self._catalog, registry)

    def grant_steps(self, registry: Registry, role: str) -> list[Step]:
        """As the base says."""
        return self._do.grant_steps(self._catalog, registry, role)

    def app_steps(self, user: str) -> list[Step]:
        """To write the stamp."""
        return self._do.app_steps(self._catalog, user)

    def teardown_steps(self) -> list[Step]:
        """As the base says."""
        return self._do.teardown_steps(self._catalog)

    def execute(self, step: Step, *, say: Callable[[str], None]) -> None:
        """As the base says."""
        self._do.execute(self._catalog, step, say=say)

    def note_begin(self) -> None:
        """By a file beside the configuration, once; the first worker begins there."""
        from .mysql.beginning import Beginning

        Beginning.now(self._catalog).note(self._config.begin_path)

    def missing_tables(self, registry: Registry) -> Iterator[str]:
        """As the base says."""
        entities = {(entity.table, entity.name) for schema in registry.schemas for entity in schema.entities.values()}
        there = self._catalog.tables_of({table for table, _ in entities})
        for table, name in sorted(entities):
            if table not in there:
                yield f"table {quoted(table)} of {name} does not exist"


class MongodbProvision(Provision):
    """The stamps, and that the server keeps what documents were before a change."""

    comment = "//"
    leftover = (
        "the server goes on keeping what documents were before a change; it ends with collMod … changeStreamPreAndPostImages:"
        " {enabled: false}. Roles and users stay, too"
    )
    nothing = "there is no collection commitlog.stamps"

    def __init__(self, config: Config) -> None:
        from ..tail.mongodb_catalog import Catalog
        from .mongodb import provisioning

        self._do, self._config = provisioning, config
        self._catalog = Catalog(config.source.conninfo())

    def close(self) -> None:
        """As the base says."""
        self._catalog.close()

    def setup_steps(self, registry: Registry) -> list[Step]:
        """As the base says."""
        return self._do.setup_steps(self._catalog, registry, visibility=self._config.log.visibility)

    def grant_steps(self, registry: Registry, role: str) -> list[Step]:
        """As the base says."""
        return self._do.grant_steps(self._catalog, registry, role)

    def app_steps(self, user: str) -> list[Step]:
        """To write its stamps."""
        return self._do.app_steps(self._catalog, user)

    def teardown_steps(self) -> list[Step]:
        """As the base says."""
        return self._do.teardown_steps(self._catalog)

    def execute(self, step: Step, *, say: Callable[[str], None]) -> None:
        """As the base says."""
        self._do.execute(self._catalog, step, say=say)

    def note_begin(self) -> None:
        """By a file beside the configuration, once; the first worker begins there."""
        from .mongodb.beginning import Beginning

        Beginning.now(self._catalog).note(self._config.begin_path)

    def missing_tables(self, registry: Registry) -> Iterator[str]:
        """As the base says."""
        from .mongodb.checks import entities_of, missing_collections

        yield from missing_collections(self._catalog, entities_of(registry))
