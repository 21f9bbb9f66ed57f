"""Going on after lost history on PostgreSQL: a slot that merely stands further on stays; one that is gone, lost or of another server is
made anew.
"""

from collections.abc import Iterator
from typing import Any

import psycopg

from ...schemas.errors import HistoryLost, Refused, Unreachable
from ...schemas.position import format_lsn, parse_lsn
from ..app_schemas.files import load_registry
from ..config import Config
from ..log.state import LogState
from ..source.check import check_identity, check_published, check_slot
from ..source.failover import Failover
from ..source.postgres_provision import PostgresProvision, advance_step
from ..tail.catalog import Slot, sql_name
from .resumption import Resumption

PASSED_OVER_FROM = 180_000
"""Before this server version decoding fails where the publication was not there, also when it is there again."""


class PostgresResumption(Resumption):
    """See `Resumption`."""

    engine = "postgresql"

    def __init__(self, config: Config) -> None:
        self._config, self._source = config, config.source
        self._provision = PostgresProvision(config)
        self._catalog = self._provision.catalog

    def close(self) -> None:
        """Close the connection."""
        self._catalog.close()

    def lost(self, state: LogState) -> HistoryLost | None:
        """As the base says."""
        catalog, source = self._catalog, self._source
        try:
            identity, slot = catalog.identity(), catalog.slot(source.slot)
            check_identity(identity, state)
            Failover.between(identity, slot, source, state)
            check_slot(slot, source, state)
            check_published(catalog, source, load_registry(self._config.schemas.path), state=state)
        except HistoryLost as exc:
            return exc
        return None

    def make_ready(self) -> Iterator[str]:
        """The slot, and what else `setup` makes."""
        slot = self._catalog.slot(self._source.slot)
        if slot is not None and slot.wal_status == "lost":
            for step in self._provision.teardown_steps(publication=False):
                self._provision.execute(step)
                yield f"dropped: {step.text}, whose WAL is gone"
        yield from self._provision.set_up(load_registry(self._config.schemas.path))
        if self._catalog.identity().version < PASSED_OVER_FROM and not self._readable():
            step = advance_step(self._source)
            self._provision.execute(step)
            yield f"done: {step.text}"

    def _readable(self) -> bool:
        """Whether the server can decode all that the slot holds; true where that takes too long to find out."""
        try:
            self._catalog.rows(
                "SELECT count(*) FROM pg_logical_slot_peek_binary_changes(%s, NULL, NULL, 'proto_version', '1',"
                " 'publication_names', %s)",
                (self._source.slot, sql_name(self._source.publication)),
            )
        except psycopg.errors.UndefinedObject:
            return False
        except Unreachable:
            return True
        return True

    def resumed_at(self, state: LogState, *, lost: bool) -> str:
        """Where the slot stands, or further where the same history was already read. Where nothing says that it is the same,
        everything that the slot has is read."""
        identity, slot = self._catalog.identity(), self._slot()
        same = (identity.system, identity.timeline) == (state.genesis["system"], state.genesis["timeline"])
        if lost and same and parse_lsn(state.position) <= identity.wal_end:
            return format_lsn(max(slot.confirmed, parse_lsn(state.position)))
        return format_lsn(slot.confirmed)

    def _slot(self) -> Slot:
        slot = self._catalog.slot(self._source.slot)
        if slot is None:
            raise Refused(f"slot {self._source.slot!r} could not be made", hint="commitlog doctor")
        return slot

    def identity(self) -> dict[str, Any]:
        """System, timeline and database."""
        identity = self._catalog.identity()
        return {"system": identity.system, "timeline": identity.timeline, "database": identity.database}
