"""What is made on a PostgreSQL before its stream can be read."""

from collections.abc import Callable, Iterator

from ...schemas.errors import UsageError
from ...transforms.registry import Registry
from ..config import Config
from ..tail.catalog import Catalog
from . import provisioning
from .provision import Provision
from .step import Step
from .table_watch import missing_tables


class PostgresProvision(Provision):
    """A publication, a slot, replica identities, event triggers."""

    leftover = "the tables keep REPLICA IDENTITY FULL; set it back with ALTER TABLE … REPLICA IDENTITY DEFAULT"
    nothing = "neither slot nor publication is there"

    def __init__(self, config: Config) -> None:
        self._config = config
        self._catalog = Catalog(config.source.conninfo())

    def close(self) -> None:
        """As the base says."""
        self._catalog.close()

    def setup_steps(self, registry: Registry) -> list[Step]:
        """As the base says."""
        return provisioning.setup_steps(self._catalog, self._config.source, registry)

    def grant_steps(self, registry: Registry, role: str) -> list[Step]:
        """As the base says."""
        return provisioning.grant_steps(self._catalog, registry, role)

    def app_steps(self, user: str) -> list[Step]:
        """As the base says."""
        raise UsageError(f"role {user!r} needs nothing: on PostgreSQL every role may tag", hint="leave out --app-role")

    def teardown_steps(self) -> list[Step]:
        """As the base says."""
        return provisioning.teardown_steps(self._catalog, self._config.source)

    def execute(self, step: Step, *, say: Callable[[str], None]) -> None:
        """As the base says."""
        provisioning.execute(self._catalog, step, say=say)

    def note_begin(self) -> None:
        """Nothing: the slot does."""

    def missing_tables(self, registry: Registry) -> Iterator[str]:
        """As the base says, with what a worker remembers of them."""
        return missing_tables(self._config.tables_path, self._catalog, registry)
