"""MongoDB as a source: what the replica set says of itself, and its oplog, for one attempt."""

from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from ...schemas.errors import DecodeError, Unreachable
from ...schemas.position import format_oplog, parse_oplog
from ...transforms.app_schema import AppSchema, Entity
from ...transforms.project import Projection
from ...transforms.registry import Registry
from ..config import Config
from ..log.state import LogState, Progress
from ..source.check import RepeatCheck
from ..source.mongodb import history
from ..source.mongodb.beginning import Beginning
from ..source.mongodb.checks import check_published, check_version
from ..source.step import mapped
from ..tail.enums import Enums
from ..tail.items import ShapeItem, shape_item
from ..tail.mongodb import OplogStream
from ..tail.mongodb_catalog import Catalog, Identity
from ..tail.oplog.collection import is_untold, unreadable
from ..tail.oplog.explode import Paths, explode
from ..tail.oplog.shapes import project
from ..tail.transaction import Mark, Relation, Transaction
from ..telemetry.vitals import Vitals
from .held import HeldPlace
from .mappings import Mappings
from .mongodb_collections import MongodbCollections
from .mongodb_snapshot import MongodbSnapshotter
from .source import Source, Stream, TableKeeper, TablesWatch


class MongodbSource(Source):
    """See `Source`."""

    engine = "mongodb"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._catalog = Catalog(config.source.conninfo(), patience_s=config.limits.silence_s)
        self._identity: Identity
        self.oplog = True
        self._beginning: Beginning
        self._start = 0
        self._mapped: set[tuple[str, str]] = set()
        self._paths: WeakKeyDictionary[Projection, Paths] = WeakKeyDictionary()
        self._held = HeldPlace(config.state / f"{config.log.location.state_name}.prepared")

    def close(self) -> None:
        """Close all connections but the stream's."""
        self._catalog.close()

    def position(self, text: str) -> int:
        """Read a place in the oplog."""
        return parse_oplog(text)

    def text(self, position: int) -> str:
        """Write a place in the oplog."""
        return format_oplog(position)

    def commit_id(self, transaction: Transaction) -> str:
        """`mongo:REPLICA SET:PLACE`."""
        return f"{self.id_prefix}{format_oplog(transaction.end)}"

    def open(self, state: LogState, registry: Registry, *, leased: bool) -> Stream:
        """As the base says. The read begins where the log's last commit came after, which so comes again."""
        config, catalog = self.config, self._catalog
        self._identity = catalog.identity()
        self.id_prefix = f"mongo:{self._identity.replica_set}:"
        check_version(self._identity)
        history.check_identity(self._identity, state)
        history.check_log(catalog, state)
        self.check_published(registry, state)
        self._start = self._goes_on(state) if state.genesis else self._begins()
        return OplogStream(
            catalog,
            replica_set=self._identity.replica_set,
            start=self._start,
            wanted=lambda database, name: (database, name) in self._mapped,
            held=lambda position: self._held.keep("" if position is None else format_oplog(position)),
            spill_bytes=config.limits.spill_bytes,
            silence_s=config.limits.silence_s,
        )

    def _begins(self) -> int:
        """Where a new log begins: where `setup` was done, or at the oplog's end where that is not known, or gone."""
        self._beginning = Beginning.noted(self.config.begin_path, self._catalog) or Beginning.now(self._catalog)
        return parse_oplog(self._beginning.position)

    def _goes_on(self, state: LogState) -> int:
        """Where to begin to read: so that the last commit comes again, and what was prepared before and is not decided."""
        return min(
            parse_oplog(place) for place in (history.beginning(self._catalog, state), self._held.read()) if place
        )

    def genesis(self) -> tuple[str, dict[str, Any]]:
        """As the base says."""
        identity = self._identity
        return self._beginning.position, {"replica_set": identity.replica_set, "database": identity.database}

    def follow(self, genesis: Mapping[str, Any]) -> None:
        """Nothing: a log stays with its replica set, whichever member is primary."""

    def repeat_check(self, state: LogState, publishes: Callable[[Transaction], bool]) -> RepeatCheck:
        """As the base says."""
        return RepeatCheck(state, self._start, publishes, position=parse_oplog)

    def check_published(self, registry: Registry, state: LogState, *, setup: str = "commitlog setup") -> None:
        """As the base says: that the server keeps what documents were before a change, of all mapped collections."""
        check_published(self._catalog, registry, state, visibility=self.config.log.visibility, setup=setup)
        self._mapped |= mapped(registry)

    def project(
        self, relation: Relation, entity: Entity, *, published: Mapping[str, str], enums: Enums | None, xid: int | None
    ) -> Projection:
        """As the base says. The app schema alone says what a document's fields are."""
        projection, paths = project(relation, entity, published=published)
        self._paths[projection] = paths
        return projection

    def item(
        self, projection: Projection, relation: Relation, key: Collection[str], awaits: Callable[[], bool]
    ) -> ShapeItem:
        """As the base says; documents are taken apart first."""
        paths = self._paths[projection]

        def row(data: bytes) -> bytes:
            if is_untold(data):
                raise Unreachable(
                    f"collection {'.'.join(relation.table)} was mapped a moment ago; its changes are read again"
                )
            try:
                return explode(data, paths)
            except DecodeError as exc:
                raise unreadable(relation, exc) from exc

        return shape_item(projection, row=row, paths=paths.described)

    def snapshotter(
        self, schema: AppSchema, *, progress: dict[str, Progress], recent: deque[Mark]
    ) -> MongodbSnapshotter:
        """As the base says, on a connection of its own."""
        return MongodbSnapshotter(self.config, self._catalog, schema=schema, progress=progress, recent=recent)

    def watch(self, keeper: TableKeeper, *, epoch: int) -> TablesWatch:
        """As the base says."""
        config = self.config
        return MongodbCollections(
            keeper, Mappings(config.tables_path, epoch=epoch, visibility=config.log.visibility, keeper=keeper)
        )

    def look(self, vitals: Vitals) -> None:
        """Note how far the set has come."""
        vitals.level.wal_end = max(vitals.level.wal_end, self._catalog.majority_point())
