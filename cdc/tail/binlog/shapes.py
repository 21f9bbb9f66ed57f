"""From a table as the binlog describes it and an app schema: the projection of the table. Once per table and schema."""

from collections.abc import Mapping

from ....schemas.errors import DecodeError
from ....schemas.shape import Column, Shape
from ....transforms.app_schema import Entity
from ....transforms.project import Projection, PublishedColumn, require_key
from ....transforms.table_name import quoted
from ..pgtypes import converter
from ..table import CatalogColumn
from .table_map import BinlogRelation


def project(
    relation: BinlogRelation, entity: Entity, *, published: Mapping[str, str], known: Mapping[str, CatalogColumn]
) -> Projection:
    """Resolve how rows of `relation` become changes of `entity`.

    Args:
        relation: The table as the transaction saw it.
        entity: The entity that claims it.
        published: Field to class, of the fields that the log's visibility records. A field that the table does not have is absent.
        known: The columns as the catalogs have them now, for what the binlog does not say: generated, numbered by the server.

    Raises:
        SchemaError: A field of the key is not published, or the table does not have it.
        DecodeError: Its rows cannot be read.
    """
    if relation.unreadable is not None:
        message, hint = relation.unreadable
        raise DecodeError(message, hint=hint)
    present = {column.name: index for index, column in enumerate(relation.columns)}
    require_key(entity, published, present)
    columns: list[Column] = []
    places: list[PublishedColumn] = []
    for index, column in enumerate(relation.columns):
        if column.name in published:
            now = known.get(column.name)
            columns.append(
                Column(
                    field=column.name,
                    type=column.canonical,
                    engine_type=column.engine_type,
                    nullable=column.nullable,
                    generated=now is not None and now.generated,
                    identity=now is not None and now.identity,
                    labels=column.labels,
                    collation=now.collation if now is not None else "",
                    cls=published[column.name],
                )
            )
            places.append(PublishedColumn(index, column.name, converter(column.canonical)))
    shape = Shape.make(entity.name, quoted(relation.table), key=entity.key, columns=tuple(columns))
    return Projection(shape, places, width=len(relation.columns))
