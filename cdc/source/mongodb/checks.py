"""Is a MongoDB as the worker needs it, and does it keep what documents were before a change? Asked before every start of the stream."""

from collections.abc import Iterable

from ....schemas.errors import HistoryLost, Refused, Unreachable
from ....schemas.position import format_oplog, parse_oplog
from ....transforms.app_schema import Entity
from ....transforms.registry import Registry
from ....transforms.table_name import quoted
from ...log.state import LogState
from ...tail.mongodb_catalog import Catalog, Identity, MongoCollection
from ...tail.mongodb_connection import VERSION_MIN
from ..step import ACCEPT_GAP
from .shell import shell

CORRECT = f"correct [source] url, or: {ACCEPT_GAP}"


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


def check_identity(identity: Identity, state: LogState) -> None:
    """Is this the replica set that the log was made from?

    Raises:
        HistoryLost: It is not.
    """
    if not state.genesis:
        return
    if "replica_set" not in state.genesis:
        raise HistoryLost("the source is a MongoDB, and the log was made from another kind of database", hint=CORRECT)
    known = state.genesis["replica_set"]
    if known != identity.replica_set:
        raise HistoryLost(
            f"the source is another replica set: {identity.replica_set}; the log was made from {known}", hint=CORRECT
        )


def check_log(catalog: Catalog, state: LogState) -> None:
    """Does the source still have all that comes after the log's position, and is its history the one that the log has?

    Raises:
        HistoryLost: It does not, or it is not.
        Unreachable: The member that answers has not come so far; in a moment that is so, or can be told from a history that is another.
    """
    if not state.genesis:
        return
    position, bounds = parse_oplog(state.position), catalog.oplog_bounds()
    if bounds.first > position:
        raise HistoryLost(
            f"the source's oplog goes back to {format_oplog(bounds.first)} only; the log stands at {state.position}, and what came after"
            " is not kept any more",
            hint=f"{ACCEPT_GAP}; and let the server keep more (replSetResizeOplog, minRetentionHours)",
        )
    if bounds.last < position:
        raise Unreachable(
            f"the source's oplog ends at {format_oplog(bounds.last)}, before the log's position {state.position}: the member that answers is"
            " behind, or it was restored from a copy",
            hint="check that all members of the replica set run",
        )
    if not catalog.has_entry(position):
        raise HistoryLost(
            f"the source's history is another one: its oplog has no entry at {state.position}, where the log stands; it was restored from"
            " a copy, or what it had confirmed was rolled back",
            hint=ACCEPT_GAP,
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
                    f"{entity.name} is of {quoted(entity.table)}, and [source] url names the database {database or 'of none'}",
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
                raise HistoryLost(f"{message}: changes of it may be missing", hint=f"{setup}, then {ACCEPT_GAP}")
            raise Refused(message, hint=f"{setup}, or: {images_on(collection)}")


def entities_there(catalog: Catalog, registry: Registry) -> list[tuple[Entity, MongoCollection]]:
    """The entities of collections that exist, each once, by name."""
    entities = entities_of(registry)
    there = catalog.collections_of({entity.table for entity in entities})
    return [(entity, there[entity.table]) for entity in entities if entity.table in there]


def entities_of(registry: Registry) -> list[Entity]:
    """The entities of all app schemas, each name and collection once."""
    found = {(e.table, e.name): e for schema in registry.schemas for e in schema.entities.values()}
    return [found[key] for key in sorted(found)]


def missing_collections(catalog: Catalog, entities: Iterable[Entity]) -> list[str]:
    """A sentence for each entity whose collection does not exist."""
    entities = list(entities)
    there = catalog.collections_of({entity.table for entity in entities})
    return [
        f"collection {quoted(entity.table)} of {entity.name} does not exist"
        for entity in entities
        if entity.table not in there
    ]


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
