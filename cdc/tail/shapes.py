"""From a Relation message, the catalogs and an app schema: the projection of one table. Once per table and schema."""

from collections.abc import Mapping
from dataclasses import replace

from ...schemas.errors import SchemaError
from ...schemas.shape import Column, Shape
from ...transforms.app_schema import Entity
from ...transforms.project import Projection, PublishedColumn
from ...transforms.table_name import quoted
from .catalog import Catalog, CatalogColumn
from .enums import Enums, Labels
from .pgoutput import Relation, RelationColumn
from .pgtypes import Converter, converter


def project(
    relation: Relation,
    entity: Entity,
    *,
    published: Mapping[str, str],
    catalog: Catalog,
    enums: Enums | None = None,
) -> Projection:
    """Resolve how rows of `relation` become changes of `entity`.

    Args:
        relation: The table as the transaction saw it.
        entity: The entity that claims it.
        published: Field to class, of the fields that the log's visibility records. A field that the table does not have
            is absent.
        catalog: For what the message does not say: nullability, identity, labels, type names.
        enums: Says which labels enums have where the stream is; None where the rows are as the catalogs say.

    Raises:
        SchemaError: A field of the key is not published, or the table does not have it.
        Unreachable: The catalogs cannot be read.
    """
    present = {column.name: index for index, column in enumerate(relation.columns)}
    for field in entity.key:
        if field not in published or field not in present:
            why = "the table has no such column" if field not in present else "its class is not recorded in this log"
            raise SchemaError(
                f"{entity.name}: the key field {field!r} cannot be recorded: {why}",
                hint="give the entity a key of recorded columns, then commitlog schema add",
            )
    table = catalog.table(*relation.table)
    known = {column.name: column for column in table.columns} if table else {}
    columns: list[Column] = []
    places: list[PublishedColumn] = []
    for index, column in enumerate(relation.columns):
        if column.name in published:
            described = _column(column, known.get(column.name), catalog=catalog, cls=published[column.name])
            if enums is not None and described.type == "enum":
                described = replace(described, labels=enums.labels(described.engine_type, described.labels))
            columns.append(described)
            places.append(PublishedColumn(index, column.name, _converter(described)))
    shape = Shape.make(entity.name, quoted(relation.table), key=entity.key, columns=tuple(columns))
    return Projection(shape, places, width=len(relation.columns))


def _converter(column: Column) -> Converter:
    if column.type == "enum":
        return Labels(column.engine_type, column.labels).__getitem__
    return converter(column.type)


def _column(column: RelationColumn, now: CatalogColumn | None, *, catalog: Catalog, cls: str) -> Column:
    if now is not None and (now.type_oid, now.modifier) == (column.type_oid, column.modifier):
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
    canonical, labels = catalog.type(column.type_oid)
    return Column(
        field=column.name,
        type=canonical,
        engine_type=catalog.type_name(column.type_oid, column.modifier),
        modifier=column.modifier,
        labels=labels,
        cls=cls,
    )
