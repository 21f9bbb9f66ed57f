"""What is made on a MongoDB before its oplog can be read."""

from collections.abc import Callable, Iterator

from ....transforms.registry import Registry
from ...config import Config
from ...tail.mongodb_catalog import Catalog
from ..provision import Provision
from ..step import Step
from . import provisioning
from .beginning import Beginning
from .checks import entities_of, missing_collections


class MongodbProvision(Provision):
    """The stamps, and that the server keeps what documents were before a change."""

    comment = "//"
    leftover = (
        "the server goes on keeping what documents were before a change; it ends with collMod … changeStreamPreAndPostImages:"
        " {enabled: false}. Roles and users stay, too"
    )
    nothing = "there is no collection commitlog.stamps"

    def __init__(self, config: Config) -> None:
        self._config = config
        self._catalog = Catalog(config.source.conninfo())

    def close(self) -> None:
        """As the base says."""
        self._catalog.close()

    def setup_steps(self, registry: Registry) -> list[Step]:
        """As the base says."""
        return provisioning.setup_steps(self._catalog, registry, visibility=self._config.log.visibility)

    def grant_steps(self, registry: Registry, role: str) -> list[Step]:
        """As the base says."""
        return provisioning.grant_steps(self._catalog, registry, role)

    def app_steps(self, user: str) -> list[Step]:
        """To write its stamps."""
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
        yield from missing_collections(self._catalog, entities_of(registry))
