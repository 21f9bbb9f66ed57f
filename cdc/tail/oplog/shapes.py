"""From an app schema: the projection of a collection, and the paths of its columns. Once per collection and schema."""

from collections.abc import Mapping

from ....schemas.shape import Column, Shape
from ....transforms.app_schema import ADDITIONAL, Entity
from ....transforms.project import Projection, PublishedColumn, require_key
from ....transforms.table_name import quoted
from ..pgtypes import text
from ..transaction import Relation
from .explode import Paths

CANONICAL = "bson"
"""The canonical type of every column of documents: canonical Extended JSON v2."""

_ANY = "any"
_OBJECT = "object"


def project(relation: Relation, entity: Entity, *, published: Mapping[str, str]) -> tuple[Projection, Paths]:
    """Resolve how documents of a collection become changes of `entity`.

    Args:
        relation: The collection.
        entity: The entity that claims it.
        published: Field to class, of the fields that the log's visibility records.

    Returns:
        The projection, of rows that `explode` makes by the paths.

    Raises:
        SchemaError: The key is not published.
    """
    require_key(entity, published, published)
    columns = tuple(
        Column(
            field=name, type=CANONICAL, engine_type=_engine_type(entity, name), nullable=name not in entity.key, cls=cls
        )
        for name, cls in published.items()
    )
    places = [PublishedColumn(index, name, text) for index, name in enumerate(published)]
    shape = Shape.make(entity.name, quoted(relation.table), key=entity.key, columns=columns)
    return Projection(shape, places, width=len(columns)), Paths.of(entity, published)


def _engine_type(entity: Entity, name: str) -> str:
    told = entity.fields.get(name)
    if told is None:
        return _OBJECT if name == ADDITIONAL else _ANY
    return told.bson or (_ANY if told.keys else _OBJECT)
