"""What is made on a MySQL or MariaDB before its binlog can be read."""

from collections.abc import Callable, Iterator

from ....transforms.registry import Registry
from ....transforms.table_name import quoted
from ...config import Config
from ...tail.mysql_catalog import Catalog
from ..provision import Provision
from ..step import Step
from . import provisioning
from .beginning import Beginning


class MysqlProvision(Provision):
    """The stamp, and settings of the binary log."""

    leftover = "the settings of the binary log stay as they are"
    nothing = "there is no table commitlog.stamp"

    def __init__(self, config: Config) -> None:
        self._config = config
        self._catalog = Catalog(config.source.conninfo())

    def close(self) -> None:
        """As the base says."""
        self._catalog.close()

    def setup_steps(self, registry: Registry) -> list[Step]:
        """As the base says."""
        return provisioning.setup_steps(self._catalog, registry)

    def grant_steps(self, registry: Registry, role: str) -> list[Step]:
        """As the base says."""
        return provisioning.grant_steps(self._catalog, registry, role)

    def app_steps(self, user: str) -> list[Step]:
        """To write the stamp."""
        return provisioning.app_steps(self._catalog, user)

    def teardown_steps(self) -> list[Step]:
        """As the base says."""
        return provisioning.teardown_steps(self._catalog)

    def execute(self, step: Step, *, say: Callable[[str], None]) -> None:
        """As the base says."""
        provisioning.execute(self._catalog, step, say=say)

    def note_begin(self) -> None:
        """By a file beside the configuration, once; the first worker begins there."""
        Beginning.now(self._catalog).note(self._config.begin_path)

    def missing_tables(self, registry: Registry) -> Iterator[str]:
        """As the base says."""
        entities = {(entity.table, entity.name) for schema in registry.schemas for entity in schema.entities.values()}
        there = self._catalog.tables_of({table for table, _ in entities})
        for table, name in sorted(entities):
            if table not in there:
                yield f"table {quoted(table)} of {name} does not exist"
