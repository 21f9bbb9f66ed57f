"""What a MongoDB replica set says of itself: which it is, how far its oplog goes, and its collections. Reads only.

The oplog is read by majority everywhere: what a majority has is never rolled back.
"""

from collections.abc import Collection as Names
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

from bson.timestamp import Timestamp
from pymongo.read_concern import ReadConcern

from ...schemas.errors import CommitLogError, Refused, UsageError
from .mongodb_address import Address, parse
from .mongodb_connection import ERRORS, PATIENCE_S, Client, connect, failure
from .table import Table

if TYPE_CHECKING:
    from collections.abc import Generator

    from pymongo.collection import Collection

SYSTEM = ("admin", "config", "local", "commitlog")
"""Databases that are the server's or our own."""

OPLOG = ("local", "oplog.rs")
PRE_IMAGES = ("config", "system.preimages")

_MAJORITY = ReadConcern("majority")


@dataclass(frozen=True, slots=True)
class Identity:
    """Which replica set it is, and which member answers.

    Args:
        replica_set: Its id, 24 hex digits, which no other has.
        name: Its name.
        version: The member's version.
        database: The database of the URL, empty for none.
        member: Host and port of the member, as the set knows it.
        primary: Those of the primary, empty where there is none now.
        members: Those of all members that hold data and are not hidden.
    """

    replica_set: str
    name: str
    version: tuple[int, int, int]
    database: str
    member: str
    primary: str
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OplogBounds:
    """The oldest and the newest entry of an oplog, the latter among those that a majority has, as positions."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class MongoCollection(Table):
    """A collection as it is now; `namespace` is its database.

    Args:
        uuid: Its own id, 16 bytes; another collection of the same name has another. Empty for a view.
        kind: `collection`, `view` or `timeseries`.
        images: The server keeps what documents were before a change.
        options: As it was made.
    """

    uuid: bytes = b""
    kind: str = "collection"
    images: bool = False
    options: dict[str, Any] = field(default_factory=dict[str, Any])


class Catalog:
    """One client of the source, for reading catalogs.

    Args:
        url: `mongodb://…` or `mongodb+srv://…`.
        patience_s: How long to wait for an answer.

    Raises:
        Unreachable: The set does not answer, refuses the login or goes away. Every method may raise it.
        Refused: It does not prove who it is, is no replica set, or a privilege is missing. Every method may raise it.
    """

    def __init__(self, url: str, *, patience_s: float = PATIENCE_S) -> None:
        self.url, self._patience_s = url, patience_s
        self.address: Address = parse(url)
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        """The client, opened when first needed."""
        if self._client is None:
            self._client = connect(self.url, patience_s=self._patience_s)
        return self._client

    def close(self) -> None:
        """Close all connections of the client."""
        if self._client is not None:
            self._client.close()
        self._client = None

    def identity(self) -> Identity:
        """Which set it is, and who answers."""
        with self.reading("who the source is cannot be read"):
            hello = self._command("hello")
            build = self._command("buildInfo")
            config = self.client["local"]["system.replset"].find_one({}, {"_id": 1, "settings.replicaSetId": 1})
        if config is None:
            raise Refused("the source has no replica set configuration", hint="run rs.initiate() there once")
        major, minor, patch, *_ = [*list[int](build["versionArray"]), 0, 0, 0]
        return Identity(
            replica_set=str(config.get("settings", {}).get("replicaSetId", "")),
            name=str(config["_id"]),
            version=(major, minor, patch),
            database=self.address.database,
            member=str(hello.get("me", "")),
            primary=str(hello.get("primary", "")),
            members=tuple(map(str, hello.get("hosts", ()))),
        )

    def oplog_bounds(self) -> OplogBounds:
        """From where to where the oplog goes."""
        with self.reading("the source's oplog cannot be read"):
            ends = [self._oplog().find_one({}, {"ts": 1}, sort=[("$natural", order)]) for order in (1, -1)]
        if None in ends:
            raise Refused("the source's oplog is empty", hint="run rs.initiate() there once")
        first, last = (position_of(end["ts"]) for end in ends if end is not None)
        return OplogBounds(first, last)

    def has_entry(self, position: int) -> bool:
        """Whether the oplog has an entry at a position, one that a majority has. A member that has not come so far is waited for."""
        database, name = OPLOG
        at = timestamp(position)
        command = {
            "find": name,
            "filter": {"ts": {"$gte": at}},
            "limit": 1,
            "singleBatch": True,
            "projection": {"ts": 1},
            "readConcern": {"level": "majority", "afterClusterTime": at},
            "maxTimeMS": int(self._patience_s * 1000 / 2),
        }
        with self.reading("the source's oplog cannot be read"):
            preference = self.client.read_preference
            found = self.client[database].command(command, read_preference=preference)["cursor"]["firstBatch"]
        return bool(found) and position_of(found[0]["ts"]) == position

    def majority_point(self) -> int:
        """Up to which position a majority has everything, as the member that answers knows it."""
        with self.reading("how far the source has come cannot be read"):
            hello = self._command("hello")
        return position_of(hello["lastWrite"]["majorityOpTime"]["ts"])

    def collection(self, database: str, name: str) -> MongoCollection | None:
        """One collection or view, None where there is none of this name."""
        return self.collections_of({(database, name)}).get((database, name))

    def collections_of(self, names: Names[tuple[str, str]]) -> dict[tuple[str, str], MongoCollection]:
        """Those of these collections that there are."""
        databases = sorted({database for database, _ in names})
        found = (one for database in databases for one in self.collections(database))
        return {name: one for one in found if (name := (one.namespace, one.name)) in names}

    def collections(self, database: str) -> list[MongoCollection]:
        """All of a database but those that are the server's or a fork's own, by name. Raises UsageError where the URL names none."""
        if not database:
            raise UsageError("[source] url names no database", hint="write mongodb://USER@HOST:PORT/DATABASE")
        with self.reading(f"the collections of {database} cannot be read"):
            found = self.client[database].list_collections(authorizedCollections=True, nameOnly=False).to_list()
        own = ("system.", "_commitlog.")
        described = [_described(database, dict(one)) for one in found if not str(one["name"]).startswith(own)]
        return sorted(described, key=lambda one: one.name)

    def databases(self) -> list[str]:
        """Those that this user may see and that are not the server's or our own."""
        with self.reading("the source's databases cannot be read"):
            names = self.client.list_database_names()
        return sorted(set(names) - {*SYSTEM})

    def parameter(self, name: str) -> Any:
        """A server parameter, None where it is not known."""
        with self.reading(f"the server's {name} cannot be read"):
            return self._command({"getParameter": 1, name: 1}).get(name)

    def privileges(self) -> list[dict[str, Any]]:
        """What this connection's user may do: `{"resource": {…}, "actions": […]}` each. Empty where nobody logs in."""
        with self.reading("what the user may do cannot be read"):
            status = self._command({"connectionStatus": 1, "showPrivileges": True})
        return list(status["authInfo"].get("authenticatedUserPrivileges", ()))

    @contextmanager
    def reading(self, doing: str) -> "Generator[None]":
        """Turn what the connection raises into our errors.

        Args:
            doing: What cannot be done then, the beginning of a sentence.
        """
        try:
            yield
        except ERRORS as exc:
            raise self.failed(exc, doing) from exc

    def failed(self, exc: Exception, doing: str) -> CommitLogError:
        """Our error for one of a connection's ERRORS."""
        return failure(exc, doing=doing, user=self.address.user)

    def _command(self, command: str | dict[str, Any]) -> dict[str, Any]:
        return dict(self.client.admin.command(command, read_preference=self.client.read_preference))

    def _oplog(self) -> "Collection[dict[str, Any]]":
        database, name = OPLOG
        return self.client[database].get_collection(name, read_concern=_MAJORITY)


def position_of(ts: Timestamp) -> int:
    """A timestamp of the server's as a position."""
    return ts.time << 32 | ts.inc


def timestamp(position: int) -> Timestamp:
    """A position as a timestamp of the server's."""
    return Timestamp(position >> 32, position & 0xFFFFFFFF)


def _described(database: str, found: dict[str, Any]) -> MongoCollection:
    options = found.get("options", {})
    uuid = found.get("info", {}).get("uuid")
    return MongoCollection(
        namespace=database,
        name=str(found["name"]),
        identity="f",
        key=("_id",),
        columns=(),
        uuid=uuid.bytes if isinstance(uuid, UUID) else bytes(uuid or b""),
        kind=str(found.get("type", "collection")),
        images=bool(options.get("changeStreamPreAndPostImages", {}).get("enabled")),
        options=dict(options),
    )
