"""What `doctor` finds of a MongoDB: every setting that the guarantees need, each with what to do about it. It changes nothing."""

from collections.abc import Iterator
from typing import Any

from pymongo.errors import OperationFailure

from ...schemas.errors import CommitLogError, Refused, SchemaError
from ...schemas.position import format_oplog
from ...transforms.registry import Registry
from ..config import Config
from ..source.mongodb.checks import (
    check_entities,
    check_version,
    entities_there,
    missing_collections,
    unfit,
)
from ..source.mongodb.grants import lacking, may_write, worker_needs
from ..source.mongodb.history import check_identity, check_log
from ..source.mongodb.provision import has_stamps
from ..source.step import mapped
from ..tail.mongodb_address import safety
from ..tail.mongodb_catalog import Catalog, Identity, MongoCollection, OplogBounds
from ..tail.mongodb_connection import VERSION_MIN, one_line
from .finding import Finding
from .home import diagnose_log, state_now
from .mapping import unmapped

HOUR_S = 3_600
WINDOW_S_MIN = 72 * HOUR_S
"""A weekend: for so long no worker may run before history is lost."""

RESIZE = f"db.adminCommand({{replSetResizeOplog: 1, minRetentionHours: {WINDOW_S_MIN // HOUR_S}}}) on each member"


def diagnose(config: Config, catalog: Catalog, registry: Registry) -> Iterator[Finding]:
    """Look at everything.

    Raises:
        Unreachable: The source does not answer.
        Refused: It is no replica set, or does not say who it is.
    """
    lacks = list(_privileges(catalog, registry))
    try:
        identity = catalog.identity()
    except Refused:
        yield from lacks  # without them nothing else can be told
        if not any(found.level == "error" for found in lacks):
            raise
        return
    yield Finding("ok", f"source {config.source.shown} answers: replica set {identity.name}, {identity.replica_set}")
    unsafe = safety(catalog.address)
    if unsafe:
        yield Finding(
            "warning", f"the way to the source is open: {unsafe}", "tls=true and tlsCAFile=FILE in [source] url"
        )
    yield from _version(identity)
    yield from _members(identity, catalog)
    yield from lacks
    if not any(found.level == "error" for found in lacks):
        bounds = catalog.oplog_bounds()
        yield _window(bounds, begun=_is_begun(catalog))
        yield from _parameters(catalog, bounds)
        yield from _collections(config, catalog, registry)
        yield from _stamps(catalog)
        yield from _standing(config, catalog, identity)
    yield from diagnose_log(config)


def _version(identity: Identity) -> Iterator[Finding]:
    try:
        check_version(identity)
    except Refused as exc:
        yield Finding("error", str(exc), exc.hint)
        return
    yield Finding("ok", f"MongoDB {'.'.join(map(str, identity.version))}")


def _members(identity: Identity, catalog: Catalog) -> Iterator[Finding]:
    """What the set's own configuration says of what a majority confirms."""
    if not identity.primary:
        yield Finding(
            "warning", f"{identity.name} has no primary now, and takes no writes", "look at rs.status() there"
        )
    elif identity.member != identity.primary:
        yield Finding(
            "warning",
            f"{identity.member} answers, which is a secondary: what it reads comes later, by its lag",
            "take readPreference and directConnection out of [source] url, and name all members",
        )
    try:
        with catalog.reading("the configuration of the replica set cannot be read"):
            found = catalog.client["local"]["system.replset"].find_one({}) or {}
    except Refused:
        return  # said of the privilege
    if any(member.get("arbiterOnly") for member in found.get("members", ())):
        yield Finding(
            "warning",
            "the set has an arbiter: while a member with data is away no majority confirms, and the log waits",
            "replace the arbiter by a member with data",
        )
    if found.get("writeConcernMajorityJournalDefault") is False:
        yield Finding(
            "warning",
            "writeConcernMajorityJournalDefault is false: a majority may lose what it has confirmed, and the log keep it",
            "set it to true by rs.reconfig()",
        )


def _privileges(catalog: Catalog, registry: Registry) -> Iterator[Finding]:
    user = catalog.address.user
    if not user:
        # On a server that asks who somebody is nothing can be read then, which is said by name.
        yield Finding(
            "warning",
            "nobody logs in to the source: where that is enough, whoever reaches it may do everything",
            "start mongod with --auth or --keyFile, and commitlog setup --role commitlog",
        )
        return
    held = catalog.privileges()
    lacks = list(lacking(worker_needs(catalog.address.database, mapped(registry)), held))
    for need in lacks:
        yield Finding(
            "error", f"user {user} {need.what}", f"as an administrator: commitlog setup --role {_account(catalog)}"
        )
    if may_write(held):
        yield Finding(
            "warning",
            f"the worker's user {user} may do more than read",
            "commitlog setup --role commitlog: a role that may do what the worker needs, and no more",
        )
    elif not lacks:
        yield Finding("ok", f"user {user} may do what the worker needs")


def _account(catalog: Catalog) -> str:
    address = catalog.address
    return address.user if address.auth_source == "admin" else f"{address.user}@{address.auth_source}"


def _window(bounds: OplogBounds, *, begun: bool) -> Finding:
    seconds = (bounds.last >> 32) - (bounds.first >> 32)
    said = f"the oplog goes back {seconds / HOUR_S:,.1f} hours, to {format_oplog(bounds.first)}"
    if begun:
        return Finding("ok", f"{said}, where the set was made")
    if seconds < WINDOW_S_MIN:
        return Finding("warning", f"{said}: without a worker for longer, history is lost", RESIZE)
    return Finding("ok", said)


def _is_begun(catalog: Catalog) -> bool:
    """Whether the oplog still has the entry with which its set began."""
    with catalog.reading("the source's oplog cannot be read"):
        first = catalog.client["local"]["oplog.rs"].find_one({}, {"op": 1, "o.msg": 1}, sort=[("$natural", 1)]) or {}
    return bool(first.get("op") == "n" and first.get("o", {}).get("msg") == "initiating set")


def _parameters(catalog: Catalog, bounds: OplogBounds) -> Iterator[Finding]:
    """What only an administrator is told."""
    unseen: list[str] = []
    for name, look in (
        ("featureCompatibilityVersion", _compatibility),
        ("the default write concern", _write_concern),
        ("how long images are kept", _expiry),
    ):
        try:
            yield from look(catalog, bounds)
        except Refused:
            unseen.append(name)
    if unseen:
        yield Finding(
            "ok",
            f"not looked at, for the server does not tell this user: {', '.join(unseen)}",
            "commitlog doctor --source URL, as an administrator",
        )


def _compatibility(catalog: Catalog, _: OplogBounds) -> Iterator[Finding]:
    said = str(catalog.parameter("featureCompatibilityVersion")["version"])
    if tuple(map(int, said.split("."))) < VERSION_MIN:
        least = ".".join(map(str, VERSION_MIN))
        yield Finding(
            "error",
            f"featureCompatibilityVersion is {said}: the server does not keep what documents were before a change",
            f'db.adminCommand({{setFeatureCompatibilityVersion: "{least}"}})',
        )
    else:
        yield Finding("ok", f"featureCompatibilityVersion is {said}")


def _write_concern(catalog: Catalog, _: OplogBounds) -> Iterator[Finding]:
    found = _admin(catalog, {"getDefaultRWConcern": 1})
    concern: dict[str, Any] = found.get("defaultWriteConcern") or {}
    if concern.get("w", "majority") != "majority":
        yield Finding(
            "warning",
            f"the default write concern is w: {concern['w']}: what the app was told is done may be taken back, and is then not in the log",
            'db.adminCommand({setDefaultRWConcern: 1, defaultWriteConcern: {w: "majority"}})',
        )
    else:
        yield Finding("ok", "writes are confirmed when a majority has them, unless they ask for less")


def _expiry(catalog: Catalog, bounds: OplogBounds) -> Iterator[Finding]:
    found = _admin(catalog, {"getClusterParameter": "changeStreamOptions"})["clusterParameters"][0]
    seconds = found.get("preAndPostImages", {}).get("expireAfterSeconds", "off")
    if seconds != "off" and int(seconds) < max(WINDOW_S_MIN, (bounds.last >> 32) - (bounds.first >> 32)):
        yield Finding(
            "warning",
            f"what documents were before a change is kept for {int(seconds) / HOUR_S:,.1f} hours, whatever the oplog has: without a worker"
            " for longer, history is lost",
            'db.adminCommand({setClusterParameter: {changeStreamOptions: {preAndPostImages: {expireAfterSeconds: "off"}}}})',
        )
    else:
        yield Finding("ok", "what documents were before a change is kept for as long as the oplog has the change")


def _admin(catalog: Catalog, command: dict[str, Any]) -> dict[str, Any]:
    with catalog.reading("a setting cannot be read"):
        try:
            return dict(catalog.client.admin.command(command))
        except OperationFailure as exc:
            # Not allowed, or not known as the server is now.
            raise Refused(f"a setting cannot be read: {one_line(exc)}") from exc


def _collections(config: Config, catalog: Catalog, registry: Registry) -> Iterator[Finding]:
    database = catalog.address.database
    yield from unmapped(config, registry, catalog.collections(database), kind="collection")
    try:
        check_entities(registry, database=database, visibility=config.log.visibility)
    except (Refused, SchemaError) as exc:
        yield Finding("error", str(exc), exc.hint)
    for text in missing_collections(catalog, registry):
        yield Finding("warning", text, "correct from: in the app schema; once it exists, commitlog setup")
    found = {entity.table: collection for entity, collection in entities_there(catalog, registry)}
    for _, collection in sorted(found.items()):
        yield _collection(collection)


def _collection(collection: MongoCollection) -> Finding:
    wrong = unfit(collection)
    if wrong is not None:
        return Finding("error", f"collection {collection.quoted} is mapped by an app schema: {wrong[0]}", wrong[1])
    if not collection.images:
        return Finding(
            "error",
            f"collection {collection.quoted}: the server does not keep what its documents were before a change",
            "commitlog setup",
        )
    return Finding("ok", f"collection {collection.quoted}: the server keeps what its documents were before a change")


def _stamps(catalog: Catalog) -> Iterator[Finding]:
    try:
        there = has_stamps(catalog)
    except Refused as exc:
        yield Finding("error", str(exc), exc.hint)
        return
    if there:
        yield Finding("ok", "commitlog.stamps carries tags")
    else:
        yield Finding(
            "warning",
            "there is no collection commitlog.stamps, or this user may not see it: without it nobody can tag writes",
            "commitlog setup --app-role NAME, and --role for this user",
        )


def _standing(config: Config, catalog: Catalog, identity: Identity) -> Iterator[Finding]:
    """Whether the source still has what the log needs to go on."""
    try:
        state = state_now(config)
        if state is None:
            return
        check_identity(identity, state)
        check_log(catalog, state)
    except CommitLogError as exc:
        yield Finding("error", str(exc), exc.hint)
        return
    if state.genesis:
        yield Finding("ok", f"the oplog has all that comes after the log's position {state.position}")
