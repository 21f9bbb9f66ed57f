"""Whether an entity's key tells the rows of its table apart, as the server itself keeps it: rows of one key would be taken for one."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from ...schemas.errors import SchemaError
from ...transforms.app_schema import Entity
from ...transforms.table_name import TableName, quoted

if TYPE_CHECKING:
    from .catalog import Catalog

_UNIQUE = """
SELECT array_agg(a.attname::text ORDER BY k.place), NOT EXISTS (
    WITH RECURSIVE down (oid) AS (SELECT i.indexrelid UNION ALL SELECT h.inhrelid FROM down d JOIN pg_inherits h ON h.inhparent = d.oid)
    SELECT FROM down d JOIN pg_index p ON p.indexrelid = d.oid WHERE NOT p.indimmediate), i.xmin::text::bigint FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
JOIN pg_namespace n ON n.oid = c.relnamespace CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY k (number, place)
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.number LEFT JOIN pg_type y ON y.oid = a.atttypid
WHERE n.nspname = %s AND c.relname = %s AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND k.place <= i.indnkeyatts
GROUP BY i.indexrelid, i.indisprimary, i.xmin::text HAVING bool_and(coalesce(a.attnotnull OR y.typnotnull, false))
ORDER BY i.indisprimary DESC, i.indexrelid
"""
"""The columns of each unique index that holds for every row, whether it does within transactions, too, in every partition, and which
transaction made it or altered it last. Of a column that may be null it does not hold."""

_XIDS: Final = 1 << 32
_FIRST_XID: Final = 3
"""Smaller ones are of rows that are older than all that runs."""


def unique_keys(catalog: "Catalog", table: TableName) -> list[list[str]]:
    """The columns by which the server tells the rows of a table apart, the primary key first."""
    return [row[0] for row in catalog.rows(_UNIQUE, table)]


def tells_apart_always(catalog: "Catalog", table: TableName, key: Collection[str], xid: int) -> bool:
    """Whether the server tells the rows of a table apart by a key at every moment: not where it is deferrable, within a transaction.

    Args:
        catalog: As it is now.
        table: The table.
        key: Its columns.
        xid: A transaction that changed rows. What was made after it says nothing of it.
    """
    return any(
        at_once and set(columns) <= set(key) and not_after(made, xid)
        for columns, at_once, made in catalog.rows(_UNIQUE, table)
    )


def not_after(made: int, xid: int) -> bool:
    """Whether a row of the catalogs that the transaction `made` wrote stood there when transaction `xid` ran."""
    return made < _FIRST_XID or (xid - made) % _XIDS < _XIDS // 2


def check_key(catalog: "Catalog", entity: Entity) -> None:
    """Does an entity's key tell the rows of its table, which exists, apart?

    Raises:
        SchemaError: Nothing on the server sees to that.
    """
    require_unique(unique_keys(catalog, entity.table), entity)


def require_unique(keys: list[list[str]], entity: Entity) -> None:
    """Does an entity's key hold one of those by which the server tells the rows of its table apart?

    Raises:
        SchemaError: It does not.
    """
    if any(set(key) <= set(entity.key) for key in keys):
        return
    table, named = quoted(entity.table), ", ".join(entity.key)
    raise SchemaError(
        f"{entity.name}: its key [{named}] does not tell the rows of {table} apart: the server does not keep it unique and not null",
        hint=f"key: [{', '.join(keys[0])}]" if keys else f"ALTER TABLE {table} ADD PRIMARY KEY ({named})",
    )
