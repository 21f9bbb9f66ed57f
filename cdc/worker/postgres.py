"""PostgreSQL as a source: its catalogs, its slot and its stream, for one attempt."""

import logging
from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ...schemas.errors import Unreachable
from ...schemas.position import format_lsn, parse_lsn
from ...transforms.app_schema import AppSchema, Entity
from ...transforms.project import Projection
from ...transforms.registry import Registry
from ..config import Config
from ..log.chain import ChainWriter
from ..log.state import LogState, Progress
from ..source.check import RepeatCheck, check_identity, check_published, check_slot
from ..source.failover import Failover
from ..tail.catalog import Catalog, Identity, Slot
from ..tail.enums import Enums
from ..tail.items import ShapeItem, shape_item
from ..tail.late_keys import LateKey
from ..tail.old_rows import (
    as_whole,
    holds_key,
    identity_columns,
    keyless_item,
    partition_item,
    partition_row,
    partitions_whole,
)
from ..tail.postgres import Stream
from ..tail.shapes import project
from ..tail.transaction import Mark, Relation, Transaction
from ..tail.unique_key import tells_apart_always
from ..telemetry.vitals import Vitals
from .postgres_snapshot import PostgresSnapshotter
from .postgres_tables import PostgresTables
from .source import Source, TableKeeper, TablesWatch
from .waits import RELEASE_MS

log = logging.getLogger("commitlog")


class PostgresSource(Source):
    """See `Source`.

    Args:
        config: The worker's.
        before: The source of the attempt before, if any: should its connection outlive it on the server, it may be ended.
        catalog: The source's catalogs; by default on a connection that is made for it.
    """

    engine = "postgresql"

    def __init__(
        self, config: Config, before: "PostgresSource | None" = None, *, catalog: Catalog | None = None
    ) -> None:
        super().__init__(config)
        self._backend_pid: int = before._backend_pid if before is not None else 0
        self._catalog = catalog or Catalog(config.source.conninfo(), patience_s=config.limits.silence_s)
        self._failover = Failover()
        self._identity: Identity
        self._slot: Slot

    def close(self) -> None:
        """Close the connection to the catalogs."""
        self._catalog.close()

    def position(self, text: str) -> int:
        """Read an LSN."""
        return parse_lsn(text)

    def text(self, position: int) -> str:
        """Write an LSN."""
        return format_lsn(position)

    def commit_id(self, transaction: Transaction) -> str:
        """The id of a transaction's commit."""
        return f"{self.id_prefix}{transaction.end:016X}"

    def open(self, state: LogState, registry: Registry, *, leased: bool) -> Stream:
        """As the base says. The stream begins where the slot stands: what the log holds comes again.

        Raises:
            SlotTaken: Another reader has the slot.
            CommitLogError: Source and log do not fit.
        """
        config, catalog = self.config, self._catalog
        self._identity = identity = catalog.identity()
        check_identity(identity, state)
        slot = catalog.slot(config.source.slot)
        self._failover = Failover.between(identity, slot, config.source, state)
        self.turn_at = self._failover.at
        check_slot(slot, config.source, state)
        check_published(catalog, config.source, registry, state=state)
        stream = self._stream(leased)
        try:
            if (stream.system, stream.timeline) != (identity.system, identity.timeline):
                raise Unreachable("another server answers than a moment ago: the source is failing over")
            # Asked again now that the slot is ours: until then another reader may have moved it.
            self._slot = check_slot(catalog.slot(config.source.slot), config.source, state)
        except BaseException:
            stream.close()
            raise
        return stream

    def _stream(self, leased: bool) -> Stream:
        """Take the slot, also from our own last connection where the server does not know yet that it is dead."""
        source = self.config.source
        slot = self._catalog.slot(source.slot)
        if slot is not None and slot.active_pid and slot.active_pid == self._backend_pid:
            log.info("ending our last connection, which the server still holds")
            self._catalog.end_backend(slot.active_pid)
        # Where another worker may take over, the server is to let go of this one as soon as the log does.
        settings = f"-c wal_sender_timeout={RELEASE_MS}" if leased else ""
        stream = Stream(
            source.conninfo(),
            slot=source.slot,
            publication=source.publication,
            limits=self.config.limits,
            settings=settings,
        )
        self._backend_pid = stream.backend_pid
        return stream

    def genesis(self) -> tuple[str, dict[str, Any]]:
        """Everything since `setup` will be in a new log: it begins where the slot stands."""
        identity = self._identity
        item = {"system": identity.system, "timeline": identity.timeline, "database": identity.database}
        return format_lsn(self._slot.confirmed), item

    def follow(self, genesis: Mapping[str, Any]) -> None:
        """Take over the timeline."""
        self.id_prefix = f"pg:{genesis['system']}:{genesis['timeline']}:"

    def repeat_check(self, state: LogState, publishes: Callable[[Transaction], bool]) -> RepeatCheck:
        """As the base says."""
        return RepeatCheck(state, self._slot.confirmed, publishes)

    def turn(self, state: LogState, chain: ChainWriter) -> bytes:
        """The next planned failover."""
        line = self._failover.record(state, chain)
        self.turn_at = self._failover.at
        return line

    def check_published(self, registry: Registry, state: LogState, *, setup: str = "commitlog setup") -> None:
        """As the base says, by the publication."""
        check_published(self._catalog, self.config.source, registry, state=state, setup=setup)

    def project(
        self, relation: Relation, entity: Entity, *, published: Mapping[str, str], enums: Enums | None, xid: int | None
    ) -> Projection:
        """As the base says, with what the catalogs know besides."""
        return project(relation, entity, published=published, catalog=self._catalog, enums=enums, xid=xid)

    def item(
        self, projection: Projection, relation: Relation, key: Collection[str], awaits: Callable[[], bool]
    ) -> ShapeItem:
        """As the base says; old rows may not be whole."""
        item, identities = shape_item(projection), identity_columns(self._catalog, relation.table)
        if identities is not None:
            return keyless_item(partition_item(item, relation, identities), relation, awaits)
        if not holds_key(relation, key):
            return keyless_item(item, relation, awaits, key)
        return item

    def late_key(self, relation: Relation, key: Collection[str], xid: int) -> LateKey | None:
        """A key that is deferrable. The server has such a table log whole old rows, or keys that are not deferrable."""
        catalog, columns = self._catalog, [column.name for column in relation.columns]
        if tells_apart_always(catalog, relation.table, key, xid):
            return None
        places = tuple(columns.index(name) for name in key)
        identities = identity_columns(catalog, relation.table)
        if identities is not None:
            read = as_whole if partitions_whole(catalog, relation.table) else partition_row(relation, identities)
            return LateKey(places, tuple(range(len(columns))), read)
        if not holds_key(relation, key):
            return None
        whole = relation.identity == "f"
        return LateKey(places, tuple(n for n, column in enumerate(relation.columns) if whole or column.in_identity))

    def snapshotter(
        self, schema: AppSchema, *, progress: dict[str, Progress], recent: deque[Mark]
    ) -> PostgresSnapshotter:
        """As the base says, on a connection of its own."""
        config = self.config
        return PostgresSnapshotter(
            config.source,
            limits=config.limits,
            schema=schema,
            visibility=config.log.visibility,
            progress=progress,
            recent=recent,
        )

    def watch(self, keeper: TableKeeper, *, epoch: int) -> TablesWatch:
        """As the base says."""
        return PostgresTables(self._catalog, self.config, keeper, epoch=epoch)

    def look(self, vitals: Vitals) -> None:
        """Note how much WAL the slot holds."""
        vitals.looked(self._catalog.slot(self.config.source.slot))
