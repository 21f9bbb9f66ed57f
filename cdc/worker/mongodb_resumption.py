"""Going on after lost history on MongoDB: at the oplog's end, or after the log's position where that is still there."""

from collections.abc import Iterator
from typing import Any

from ...schemas.errors import HistoryLost
from ..app_schemas.files import load_registry
from ..config import Config
from ..log.state import LogState
from ..source.mongodb import history
from ..source.mongodb.beginning import Beginning
from ..source.mongodb.checks import check_published
from ..source.mongodb.provision import MongodbProvision
from .resumption import Resumption


class MongodbResumption(Resumption):
    """See `Resumption`."""

    engine = "mongodb"

    def __init__(self, config: Config) -> None:
        self._registry = load_registry(config.schemas.path)
        self._visibility = config.log.visibility
        self._provision = MongodbProvision(config)
        self._catalog = self._provision.catalog
        self._end = Beginning.now(self._catalog)

    def close(self) -> None:
        """Close the connections."""
        self._catalog.close()

    def lost(self, state: LogState) -> HistoryLost | None:
        """As the base says. Whether what documents were is still kept only the stream can tell."""
        try:
            history.check_identity(self._catalog.identity(), state)
            history.check_log(self._catalog, state)
            check_published(self._catalog, self._registry, state, visibility=self._visibility)
        except HistoryLost as exc:
            return exc
        return None

    def make_ready(self) -> Iterator[str]:
        """What `setup` makes."""
        yield from self._provision.set_up(self._registry)
        self._end = Beginning.now(self._catalog)

    def resumed_at(self, state: LogState, *, lost: bool) -> str:
        """The oplog's end: of what lies before, documents may not be kept as they were."""
        return self._end.position

    def identity(self) -> dict[str, Any]:
        """Replica set and database."""
        identity = self._catalog.identity()
        return {"replica_set": identity.replica_set, "database": identity.database}
