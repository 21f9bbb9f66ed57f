"""Is a MongoDB as the worker needs it, and does it keep what documents were before a change? Asked before every start of the stream."""

from collections.abc import Iterator

from ....schemas.errors import ACCEPT_GAP, HistoryLost, Refused
from ....transforms.app_schema import Entity
from ....transforms.registry import Registry
from ....transforms.table_name import quoted
from ...log.state import LogState
from ...tail.mongodb_catalog import Catalog, Identity, MongoCollection
from ...tail.mongodb_connection import VERSION_MIN
from ..step import entities_of, mapped
from .shell import shell


def check_version(identity: Identity) -> None:
    """Is the server new enough?

    Raises:
        Refused: It is not.
    """
    if identity.version < VERSION_MIN:
        shown, first = (".".join(map(str, version)) for version in (identity.version, VERSION_MIN))
        raise Refused(
            f"the source is version {shown}; {first} is the first that keeps what documents were before a change",
            hint="upgrade the server",
        )


def check_entities(registry: Registry, *, database: str, visibility: str) -> None:
    """Are the app schemas of collections, and of the one database that is read?

    Raises:
        SchemaError: One says what cannot be said of a collection.
        Refused: One maps another database.
    """
    for schema in registry.schemas:
        schema.check(visibility, engine="mongodb")
        for entity in schema.entities.values():
            if entity.table[0] != database:
                raise Refused(
                    f"{entity.name} is of {quoted(entity.table)}, and [source] url names "
                    + (f"the database {database}" if database else "no database"),
                    hint=f"from: {quoted((database or 'DATABASE', entity.table[1]))}, or another worker for that database",
                )


def check_published(
    catalog: Catalog,
    registry: Registry,
    state: LogState,
    *,
    visibility: str,
    setup: str = "commitlog setup",
) -> None:
    """Does the source keep what documents were before a change, of every collection that a schema maps, and that exists?

    Args:
        catalog: The source's catalogs.
        registry: The app schemas.
        state: The log's.
        visibility: That of the log.
        setup: The command that makes the source ready.

    Raises:
        HistoryLost: It does not keep it of one of which the log has documents.
        Refused: It does not of one that is new to the log, or one is of a kind that cannot be recorded.
        SchemaError: A schema does not fit a MongoDB.
    """
    check_entities(registry, database=catalog.address.database, visibility=visibility)
    for entity, collection in entities_there(catalog, registry):
        wrong = unfit(collection)
        if wrong is not None:
            raise Refused(f"collection {collection.quoted} is mapped by an app schema: {wrong[0]}", hint=wrong[1])
        if not collection.images:
            message = f"collection {collection.quoted} is mapped by an app schema, and the server does not keep what its documents were"
            if entity.name in state.snapshots:
                raise HistoryLost(
                    f"{message}: changes of it may be missing",
                    hint=f"{setup}, then commitlog run, which goes on where none is missing; where one is, {ACCEPT_GAP}",
                )
            raise Refused(message, hint=f"{setup}, or: {images_on(collection)}")


def entities_there(catalog: Catalog, registry: Registry) -> list[tuple[Entity, MongoCollection]]:
    """The entities of collections that exist, each once, by name."""
    entities = entities_of(registry)
    there = catalog.collections_of({entity.table for entity in entities})
    return [(entity, there[entity.table]) for entity in entities if entity.table in there]


def missing_collections(catalog: Catalog, registry: Registry) -> Iterator[str]:
    """A sentence for each entity whose collection does not exist."""
    there = catalog.collections_of(mapped(registry))
    for entity in entities_of(registry):
        if entity.table not in there:
            yield f"collection {quoted(entity.table)} of {entity.name} does not exist"


def unfit(collection: MongoCollection) -> tuple[str, str] | None:
    """Why a collection cannot be recorded as it is, and what to do about it; None where it can."""
    leave = "take it out of the app schemas"
    if collection.kind == "view":
        return "it is a view, and its documents are those of others", f"map the collection that it shows, or {leave}"
    if collection.kind == "timeseries":
        return "it is a time series, whose documents have no keys in the oplog", leave
    if collection.options.get("capped"):
        return "it is capped, and what the server removes from its old end is in no oplog", leave
    return None


def images_on(collection: MongoCollection) -> str:
    """What has the server keep what documents were before a change."""
    return shell(collection.namespace, {"collMod": collection.name, "changeStreamPreAndPostImages": {"enabled": True}})
