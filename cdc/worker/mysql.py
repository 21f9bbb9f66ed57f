"""MySQL and MariaDB as sources: their catalogs and their binlog, for one attempt."""

import logging
import zlib
from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal, cast

from ...schemas.position import binlog_position, format_binlog, parse_binlog
from ...transforms.app_schema import AppSchema, Entity
from ...transforms.project import Projection
from ...transforms.registry import Registry
from ..config import Config
from ..log.state import LogState, Progress
from ..source.check import RepeatCheck
from ..source.mysql import checks
from ..source.mysql.beginning import Beginning
from ..tail.binlog.shapes import project
from ..tail.binlog.table_map import BinlogRelation
from ..tail.binlog.transaction import BinlogTransaction
from ..tail.enums import Enums
from ..tail.items import ShapeItem, shape_item
from ..tail.mysql import BinlogStream
from ..tail.mysql_catalog import Catalog, Identity
from ..tail.mysql_connection import connect
from ..tail.mysql_rows import relation_of
from ..tail.transaction import Mark, Relation, Transaction
from ..telemetry.vitals import Vitals
from .held import HeldPlace
from .mappings import Mappings
from .mysql_snapshot import MysqlSnapshotter
from .mysql_tables import MysqlTables
from .source import Source, Stream, TableKeeper, TablesWatch

log = logging.getLogger("commitlog")


class MysqlSource(Source):
    """See `Source`."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._catalog = Catalog(config.source.conninfo(), patience_s=config.limits.silence_s)
        self._identity: Identity
        self.engine = config.source.engine
        self.id_prefix = f"{self.engine}:"
        self._beginning: Beginning
        self._start = ""
        self._held = HeldPlace(config.state / f"{config.log.location.state_name}.prepared")

    def close(self) -> None:
        """Close the connection to the catalogs."""
        self._catalog.close()

    def position(self, text: str) -> int:
        """Read a place in the binlog."""
        return binlog_position(*parse_binlog(text))

    def text(self, position: int) -> str:
        """Write a place in the binlog."""
        return format_binlog(self.binlog, position)

    def commit_id(self, transaction: Transaction) -> str:
        """`mysql:UUID[:TAG]:NUMBER`, `mariadb:DOMAIN-SERVER-NUMBER`."""
        return f"{self.id_prefix}{cast(BinlogTransaction, transaction).gtid}"

    def open(self, state: LogState, registry: Registry, *, leased: bool) -> Stream:
        """As the base says. The dump begins where the log's last commit came after, which so comes again."""
        config, catalog = self.config, self._catalog
        self._identity = catalog.identity()
        checks.check_identity(self._identity, state)
        checks.check_settings(catalog)
        checks.check_log(catalog, self._identity, state)
        self.check_published(registry, state)
        self._start = self._goes_on(state) if state.genesis else self._begins()
        self.binlog = parse_binlog(self._start)[0].rpartition(".")[0]
        return BinlogStream(
            connect(config.source.conninfo(), patience_s=config.limits.silence_s),
            flavour=cast(Literal["mysql", "mariadb"], self.engine),
            server=self._identity.server,
            start=self._start,
            server_id=config.source.server_id or server_id(config.log.location.name),
            known=self.position(state.position) if state.position else 0,
            held=self._keep_held,
            spill_bytes=config.limits.spill_bytes,
            silence_s=config.limits.silence_s,
            described=self._relation,
        )

    def _relation(self, database: str, name: str) -> BinlogRelation | None:
        table = self._catalog.table(database, name)
        return None if table is None else relation_of(table)

    def _begins(self) -> str:
        """Where a new log begins: where `setup` was done, or at the binlog's end where that is not known, or gone."""
        self._beginning = Beginning.noted(self.config.begin_path, self._catalog) or Beginning.now(self._catalog)
        return self._beginning.position

    def _goes_on(self, state: LogState) -> str:
        """Where to begin to read: so that the last commit comes again, and what was prepared before and is not decided."""
        start = checks.beginning(self._catalog, state)
        held = self._held.read()
        if held is None:
            held = f"{self._catalog.binary_logs()[0].name}:4" if self._catalog.prepared() else ""
        return min(start, held, key=self.position) if held else start

    def _keep_held(self, position: int | None) -> None:
        """Remember where the oldest transaction begins that is prepared and not decided."""
        self._held.keep("" if position is None else self.text(position))

    def genesis(self) -> tuple[str, dict[str, Any]]:
        """As the base says."""
        identity = self._identity
        return self._beginning.position, {
            "server": identity.server,
            "database": identity.database,
            "gtids": self._beginning.gtids,
        }

    def follow(self, genesis: Mapping[str, Any]) -> None:
        """Nothing: a log stays with its server."""

    def repeat_check(self, state: LogState, publishes: Callable[[Transaction], bool]) -> RepeatCheck:
        """As the base says."""
        return RepeatCheck(state, self.position(self._start), publishes, position=self.position)

    def check_published(self, registry: Registry, state: LogState, *, setup: str = "commitlog setup") -> None:
        """As the base says: that the binlog has whole rows of all mapped tables."""
        checks.check_published(self._catalog, registry, state, setup=setup)

    def project(
        self, relation: Relation, entity: Entity, *, published: Mapping[str, str], enums: Enums | None, xid: int | None
    ) -> Projection:
        """As the base says. The binlog describes tables whole; the catalogs know which columns the server fills."""
        table = self._catalog.table(*relation.table)
        known = {column.name: column for column in table.columns} if table is not None else {}
        return project(cast(BinlogRelation, relation), entity, published=published, known=known)

    def item(
        self, projection: Projection, relation: Relation, key: Collection[str], awaits: Callable[[], bool]
    ) -> ShapeItem:
        """As the base says; old rows are whole."""
        return shape_item(projection)

    def snapshotter(self, schema: AppSchema, *, progress: dict[str, Progress], recent: deque[Mark]) -> MysqlSnapshotter:
        """As the base says, on connections of its own."""
        return MysqlSnapshotter(self.config, schema=schema, progress=progress, recent=recent)

    def watch(self, keeper: TableKeeper, *, epoch: int) -> TablesWatch:
        """As the base says."""
        visibility = self.config.log.visibility
        mappings = Mappings(self.config.tables_path, epoch=epoch, visibility=visibility, keeper=keeper)
        return MysqlTables(keeper, self._catalog, mappings, visibility=visibility)

    def look(self, vitals: Vitals) -> None:
        """Note where the binlog ends."""
        vitals.level.wal_end = max(vitals.level.wal_end, self._catalog.binlog_end().position)


def server_id(name: str) -> int:
    """What the reader of a log calls itself among a server's replicas, where the configuration says nothing: high, so that it meets
    none that people number."""
    return 0x80000000 | zlib.crc32(name.encode()) & 0x7FFFFFFF
