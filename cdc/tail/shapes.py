"""From a Relation message, the catalogs and an app schema: the projection of one table. Once per table and schema."""

from collections.abc import Mapping
from dataclasses import replace

from ...schemas.shape import Column, Shape
from ...transforms.app_schema import Entity
from ...transforms.project import Projection, PublishedColumn, require_key
from ...transforms.table_name import TableName, quoted
from .catalog import Catalog, CatalogColumn
from .enums import Enums, Labels
from .pgtypes import CANONICAL, Converter, converter
from .transaction import Relation, RelationColumn
from .unique_key import not_after


def project(
    relation: Relation,
    entity: Entity,
    *,
    published: Mapping[str, str],
    catalog: Catalog,
    enums: Enums | None = None,
    xid: int | None = None,
) -> Projection:
    """Resolve how rows of `relation` become changes of `entity`.

    Args:
        relation: The table as the transaction saw it.
        entity: The entity that claims it.
        published: Field to class, of the fields that the log's visibility records. A field that the table does not have
            is absent.
        catalog: For what the message does not say: nullability, identity, labels, type names.
        enums: Says which labels enums have where the stream is; None where the rows are as the catalogs say.
        xid: The transaction that changed the rows; None where they are as the catalogs say.

    Raises:
        SchemaError: A field of the key is not published, or the table does not have it.
        Unreachable: The catalogs cannot be read.
    """
    present = {column.name: index for index, column in enumerate(relation.columns)}
    require_key(entity, published, present)
    table = catalog.table(*relation.table)
    known = {column.name: column for column in table.columns} if table else {}
    labelled = enums or Enums({})
    columns: list[Column] = []
    places: list[PublishedColumn] = []
    for index, column in enumerate(relation.columns):
        if column.name in published:
            described = _column(column, known.get(column.name), catalog=catalog, cls=published[column.name])
            described = labelled.described(described)
            if not _refused_null(known.get(column.name), xid):
                described = replace(described, nullable=True)
            columns.append(described)
            places.append(PublishedColumn(index, column.name, _converter(described)))
    shape = Shape.make(entity.name, quoted(relation.table), key=entity.key, columns=tuple(columns))
    return Projection(shape, places, width=len(relation.columns))


def _refused_null(now: CatalogColumn | None, xid: int | None) -> bool:
    """Whether the server refused NULL in a column, as it does now, already when a transaction ran. The message does not say."""
    return now is not None and (xid is None or not_after(now.altered_by, xid))


def _converter(column: Column) -> Converter:
    if column.type == "enum":
        return Labels(column.engine_type, column.labels).__getitem__
    return converter(column.type)


def _column(column: RelationColumn, now: CatalogColumn | None, *, catalog: Catalog, cls: str) -> Column:
    if (
        now is not None
        and (now.type_oid, now.modifier) == (column.type_oid, column.modifier)
        and now.canonical != "gone"
    ):
        return Column(
            field=column.name,
            type=now.canonical,
            engine_type=now.engine_type,
            modifier=column.modifier,
            nullable=now.nullable,
            generated=now.generated,
            identity=now.identity,
            labels=now.labels,
            collation=now.collation,
            cls=cls,
        )
    if column.type_name is None:
        canonical, labels = catalog.type(column.type_oid)
        engine_type = catalog.type_name(column.type_oid, column.modifier)
    else:
        canonical, labels, engine_type = _own_type(column, column.type_name, catalog)
    return Column(
        field=column.name,
        type=canonical,
        engine_type=engine_type,
        modifier=column.modifier,
        labels=labels,
        cls=cls,
    )


_OWN_TYPE = """
WITH RECURSIVE f AS (
    SELECT t.oid FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
    WHERE t.oid = %(oid)s OR (n.nspname, t.typname) = (%(schema)s, %(name)s) ORDER BY t.oid <> %(oid)s LIMIT 1),
b AS (SELECT oid, typtype, typbasetype FROM pg_type WHERE oid = (SELECT oid FROM f)
      UNION ALL SELECT t.oid, t.typtype, t.typbasetype FROM b JOIN pg_type t ON t.oid = b.typbasetype WHERE b.typtype = 'd')
SELECT b.oid::int8, b.typtype = 'e', ARRAY(SELECT enumlabel::text FROM pg_enum WHERE enumtypid = b.oid ORDER BY enumsortorder),
    format_type((SELECT oid FROM f), %(modifier)s)
FROM b WHERE typtype <> 'd'
"""
"""In one statement, for the type may be altered or dropped meanwhile."""


def _own_type(column: RelationColumn, name: TableName, catalog: Catalog) -> tuple[str, tuple[str, ...], str]:
    """Canonical type, labels and name of a type that is not the system's: where it is gone, of the one that has its name now."""
    found = catalog.rows(
        _OWN_TYPE, {"oid": column.type_oid, "schema": name[0], "name": name[1], "modifier": column.modifier}
    )
    if not found:
        return "gone", (), quoted(name)
    bottom, is_enum, labels, engine_type = found[0]
    return "enum" if is_enum else CANONICAL.get(bottom, "exact"), tuple(labels), engine_type
