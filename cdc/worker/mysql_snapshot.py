"""Chunks of the tables of MySQL and MariaDB, told apart from the stream by GTID sets.

What a snapshot surely sees is the set of transactions that had ended before it was taken; what it may see ends at the binlog's end
right after. Whatever lies between is laid over the chunk, once more where it was seen already: rows come whole, so that changes nothing.
No table is locked.
"""

from collections import deque
from collections.abc import Callable, Sequence

from ...schemas.change import RawRow
from ...schemas.position import binlog_position
from ...transforms.app_schema import AppSchema, Entity
from ..config import Config
from ..log.state import Progress
from ..source.mysql.checks import check_key
from ..tail.binlog.shapes import project
from ..tail.binlog.table_map import BinlogRelation
from ..tail.mysql_catalog import Catalog
from ..tail.mysql_connection import ERRORS, Connection, code, connect, failure
from ..tail.mysql_rows import collated, relation_of, rows_after, text_of
from ..tail.transaction import Mark, Relation
from .snapshot import FIRST_ROWS, SURPLUS_BYTES, Chunk, Snapshotter, fitting, key_of, row_size

_LATER = frozenset({1049, 1051, 1054, 1146, 1205, 1213, 1412, 1969, 3024})
"""No such database, table or column now, somebody holds it, or it was altered a moment ago: others come first."""


class MysqlSnapshotter(Snapshotter):
    """Those of MySQL and MariaDB.

    Args:
        config: Of the worker.
        schema: Says which entities, and which of their fields.
        progress: The log's own record of how far each entity has come.
        recent: The transactions in the log of which a snapshot may not know yet.
    """

    def __init__(
        self, config: Config, *, schema: AppSchema, progress: dict[str, Progress], recent: deque[Mark]
    ) -> None:
        super().__init__(
            schema=schema, visibility=config.log.visibility, progress=progress, recent=recent, limits=config.limits
        )
        self._url, self._patience_s = config.source.conninfo(), config.limits.silence_s
        self._catalog = Catalog(self._url, patience_s=self._patience_s)
        self._connected = connect(self._url, patience_s=self._patience_s, raw=True)

    @property
    def _connection(self) -> Connection:
        """The one that reads rows, made anew where the last chunk ended in the middle of an answer."""
        if not self._connected.open:
            self._connected = connect(self._url, patience_s=self._patience_s, raw=True)
        return self._connected

    def close(self) -> None:
        """Close the connections."""
        if self._connected.open:
            self._connected.close()
        self._catalog.close()

    def hurry(self) -> None:
        """Nothing: the server tells of everything at once."""

    def take(self) -> bool:
        """As the base says."""
        for entity in self.missing:
            try:
                self.chunk = self._read(entity)
            except ERRORS as exc:
                if code(exc) in _LATER:
                    continue
                user = self._catalog.address.user
                raise failure(exc, doing=f"the snapshot of {entity.name} cannot be read", user=user) from exc
            if self.chunk is not None:
                return True
        return False

    def _described(self, relation: Relation) -> list[tuple[str, int]]:
        """Names alone: a statement that changes more spoils the chunk by itself."""
        return [(column.name, 0) for column in relation.columns]

    def _read(self, entity: Entity) -> Chunk | None:
        table = self._catalog.table(*entity.table)
        if table is None or not table.columns:  # it went while it was looked at
            return None
        relation = relation_of(table)
        known = {column.name: column for column in table.columns}
        projection = project(relation, entity, published=entity.published(self._visibility), known=known)
        progress = self._progress.get(entity.name)
        start = progress.to if progress else None
        if start is None:
            check_key(self._catalog, entity)
        try:
            sees, due = self._begin()
            if not self._all_seen(sees):
                return None
            expected = self._expected(relation) if start is None else 0
            rows, last = self._rows(relation, entity.key, start, lambda row: [*projection.key(row).values()])
        finally:
            if self._connected.open:
                self._connected.rows("COMMIT")
        kept = fitting(rows, self._bytes_max)
        rows, last = rows[:kept], last and kept == len(rows)
        places = [index for index, column in enumerate(relation.columns) if column.name in entity.key]
        end = None if last else list(projection.key(rows[-1]).values())
        keyed = {key_of(row, places): row for row in rows}
        described = self._described(relation)
        return Chunk(
            entity, projection, start, end, keyed, f"{due:x}", sees, due, described, places,
            expected=expected, source_order=any(collated(relation.columns[place]) for place in places),
        )  # fmt: skip

    def _begin(self) -> tuple[Callable[[Mark], bool], int]:
        """Begin a transaction with a snapshot.

        Returns:
            What it sees for sure, by a transaction's mark; up to which position everything lies that it may see.
        """
        connection = self._connection
        if self._catalog.engine == "mariadb":
            connection.rows("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
            status = dict(connection.rows("SHOW STATUS LIKE 'binlog_snapshot_%'"))
            at = binlog_position(status[b"Binlog_snapshot_file"].decode(), int(status[b"Binlog_snapshot_position"]))
            return lambda mark: isinstance(mark, tuple) and mark[1] <= at, at
        # The server adds a GTID to this set when the transaction can be seen; it writes it to the binlog before that.
        gtids = self._catalog.gtid_executed()
        connection.rows("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
        return lambda mark: isinstance(mark, tuple) and mark[0] in gtids, self._catalog.binlog_end().position

    def _expected(self, relation: BinlogRelation) -> int:
        """How many rows a table has, as the server thinks."""
        query = "SELECT TABLE_ROWS FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s"
        rows = self._catalog.rows(query, relation.table)
        return int(rows[0][0] or 0) if rows else 0

    def _rows(
        self,
        relation: BinlogRelation,
        key: Sequence[str],
        start: list[object] | None,
        key_values: Callable[[RawRow], list[object]],
    ) -> tuple[list[RawRow], bool]:
        """The first rows after a key, about as many as a record takes, and whether these are all."""
        texts = [text_of(column) for column in relation.columns]
        rows: list[RawRow] = []
        size, wanted = 0, min(FIRST_ROWS, self._rows_max)
        while wanted and size <= self._bytes_max:
            end = len(rows) + wanted
            for values in self._connection.streamed(f"{rows_after(relation, key, start)} LIMIT {wanted}"):
                rows.append([
                    text(value) if text is not None and value is not None else value
                    for text, value in zip(texts, values, strict=True)
                ])  # fmt: skip
                size += row_size(rows[-1])
                if size > self._bytes_max + SURPLUS_BYTES and len(rows) < end:
                    # The rest would be as large.
                    return rows, False
            if len(rows) < end:
                return rows, True
            start = key_values(rows[-1])
            room = (self._bytes_max - size) * len(rows) // (size + 1) + 1
            wanted = min(10 * wanted, room, self._rows_max - len(rows))
        return rows, False
