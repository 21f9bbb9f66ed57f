"""Going on after lost history on MySQL and MariaDB: at the binary log's end."""

from collections.abc import Iterator
from typing import Any

from ...schemas.errors import HistoryLost
from ..app_schemas.files import load_registry
from ..config import Config
from ..log.state import LogState
from ..source.mysql import checks
from ..source.mysql.provision import MysqlProvision
from .resumption import Resumption


class MysqlResumption(Resumption):
    """See `Resumption`."""

    def __init__(self, config: Config) -> None:
        self._registry = load_registry(config.schemas.path)
        self._provision = MysqlProvision(config)
        self._catalog = self._provision.catalog
        self.engine = self._catalog.engine
        self._end = self._catalog.binlog_status()

    def close(self) -> None:
        """Close the connection."""
        self._catalog.close()

    def lost(self, state: LogState) -> HistoryLost | None:
        """As the base says."""
        try:
            identity = self._catalog.identity()
            checks.check_identity(identity, state)
            checks.check_log(self._catalog, identity, state)
            checks.check_published(self._catalog, self._registry, state)
        except HistoryLost as exc:
            return exc
        return None

    def make_ready(self) -> Iterator[str]:
        """What `setup` makes."""
        yield from self._provision.set_up(self._registry)
        self._end = self._catalog.binlog_status()

    def resumed_at(self, state: LogState, *, lost: bool) -> str:
        """The binary log's end: where nothing is lost, what comes next is what the worker cannot read."""
        return self._end.text

    def identity(self) -> dict[str, Any]:
        """Server, database, and what is in its history."""
        identity = self._catalog.identity()
        return {"server": identity.server, "database": identity.database, "gtids": str(self._end.gtids)}
