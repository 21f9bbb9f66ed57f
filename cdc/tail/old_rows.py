"""Old rows that are not whole: of partitions, and of tables whose replica identity does not hold the entity's key."""

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Final

from ...schemas.change import UPDATE
from ...schemas.errors import HistoryLost, Refused
from ...transforms.table_name import TableName, quoted
from .items import ShapeItem
from .row_change import parse_change
from .transaction import Relation

if TYPE_CHECKING:
    from .catalog import Catalog

ROW_AT: Final = 30
"""Where in the XLogData of an update or delete the kind of its old row stands."""

_IDENTITIES = """
WITH RECURSIVE t AS (SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                     WHERE n.nspname = %s AND c.relname = %s AND c.relkind = 'p'),
down (oid) AS (SELECT oid FROM t UNION ALL SELECT i.inhrelid FROM down d JOIN pg_inherits i ON i.inhparent = d.oid)
SELECT DISTINCT a.attname::text FROM down d JOIN pg_index i ON i.indrelid = d.oid AND (i.indisprimary OR i.indisreplident)
JOIN pg_attribute a ON a.attrelid = d.oid AND a.attnum = ANY (i.indkey)
UNION ALL SELECT NULL FROM t
"""

_WHOLE = """
WITH RECURSIVE down (oid) AS (SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s
    UNION ALL SELECT i.inhrelid FROM down d JOIN pg_inherits i ON i.inhparent = d.oid)
SELECT coalesce(bool_and(c.relreplident = 'f'), false) FROM down d JOIN pg_class c USING (oid) WHERE c.relkind = 'r'
"""


def partitions_whole(catalog: "Catalog", table: TableName) -> bool:
    """Whether every partition of a table logs whole old rows."""
    return bool(catalog.rows(_WHOLE, table)[0][0])


def identity_columns(catalog: "Catalog", table: TableName) -> frozenset[str] | None:
    """The columns of which a partition of a table may log old values alone; None where the table is not partitioned."""
    rows = catalog.rows(_IDENTITIES, table)
    return frozenset(row[0] for row in rows if row[0] is not None) if rows else None


def partition_item(item: ShapeItem, relation: Relation, identities: frozenset[str]) -> ShapeItem:
    """As `item`, for a partitioned table.

    Whether an old row is whole is decided by its partition, but what it is called by the partitioned table: of a partition that logs
    keys only, all other values of an old row come as null. Where all are, they count as not sent.

    Args:
        item: How changes of an ordinary table become items.
        relation: The partitioned table.
        identities: The columns of which a partition may log old values alone.
    """
    told = partition_row(relation, identities)

    def partitioned(data: bytes, shape_index: int) -> bytes | None:
        return item(told(data), shape_index)

    return partitioned


def partition_row(relation: Relation, identities: frozenset[str]) -> Callable[[bytes], bytes]:
    """Says of a partitioned table's change truly whether its old row is whole; arguments as above."""
    others = [index for index, column in enumerate(relation.columns) if column.name not in identities]

    def told(data: bytes) -> bytes:
        if data[25:26] in (b"U", b"D") and data[ROW_AT] in b"KO":
            old = parse_change(data)[1] or ()
            whole = not others or any(old[index] is not None for index in others)
            data = data[:ROW_AT] + (b"O" if whole else b"K") + data[ROW_AT + 1 :]
        return data

    return told


def as_whole(data: bytes) -> bytes:
    """A change whose old row is whole, said to be so: of a partition the partitioned table's identity is told."""
    return data[:ROW_AT] + b"O" + data[ROW_AT + 1 :] if data[25:26] in (b"U", b"D") and data[ROW_AT] == 0x4B else data


def holds_key(relation: Relation, key: Collection[str]) -> bool:
    """Whether a table's replica identity, as the stream describes it, has the columns of a key."""
    logged = {column.name for column in relation.columns if column.in_identity or relation.identity == "f"}
    return logged >= set(key)


def keyless_item(
    item: ShapeItem, relation: Relation, awaits: Callable[[], bool], unseen: Collection[str] = ()
) -> ShapeItem:
    """As `item`, for a table that may log changes without the entity's key.

    Such a change is passed over where a snapshot is still to tell all rows, and with them what it has led to.

    Args:
        item: How changes of an ordinary table become items.
        relation: The table.
        awaits: Whether such a snapshot is to come.
        unseen: The columns of the key that may change without an old row, which comes when the replica identity's change.
    """

    def keyless(data: bytes, shape_index: int) -> bytes | None:
        try:
            if unseen and data[25] == UPDATE and data[ROW_AT] not in b"KO":
                raise Refused(
                    f"{relation.namespace}.{relation.name}: a row was updated without {', '.join(unseen)} of before"
                )
            return item(data, shape_index)
        except Refused as exc:
            if not awaits():
                raise HistoryLost(
                    f"{exc}: its replica identity does not hold the key, and which row it was is lost",
                    hint=f"ALTER TABLE {quoted(relation.table)} REPLICA IDENTITY FULL, then commitlog resume --accept-gap",
                ) from exc
            return None

    return keyless
