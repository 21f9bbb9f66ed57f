"""The collections in which a fork in MongoDB remembers: in the fork's own database, so that its user needs no other."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, Final

from bson.binary import Binary
from bson.int64 import Int64
from pymongo import ASCENDING
from pymongo.client_session import ClientSession

from ....schemas.errors import Refused
from ....schemas.record import Head
from ....schemas.shape import Shape
from ..state import CONFLICT_FIELDS, FORMAT, Applied, EntityState, Remembered, Upstream
from ..units import Place
from .connection import Connected

NAMES: Final = ("applied", "shapes", "schemas", "entities", "conflicts", "made", "lock")
"""There is a fork when the position has its document, which comes last."""

_KEPT: Final = ("made", "lock")

PREFIX: Final = "_commitlog."
VALUE_CHARACTERS_MAX: Final = 1 << 20
"""Of each side of a conflict: the document that holds them must not become larger than MongoDB takes."""

_ONE: Final = {"_id": "fork"}
_NOW: Final = {"$dateToString": {"date": "$$NOW", "format": "%Y-%m-%d %H:%M:%S.%L+00"}}


class MongoMemory:
    """Collections `_commitlog.…`. `made` is what the fork made, for `collections`; `lock` is the connection's.

    Args:
        connected: The fork's database.
    """

    shown = "collections _commitlog.…"

    def __init__(self, connected: Connected) -> None:
        self._connected = connected

    def is_there(self) -> bool:
        """Whether the collections are there."""
        with self._connected.translated():
            return bool(self._connected.db.list_collection_names(filter={"name": f"{PREFIX}applied"}))

    def make(self) -> None:
        """Make the collections, as far as they are not made by what is first written to them. What is left of a fork that was begun and
        not made, or not dropped to the end, goes, but for what tells which collections the fork made."""
        db = self._connected.db
        with self._connected.translated():
            for name in set(db.list_collection_names()).intersection(
                PREFIX + name for name in NAMES if name not in _KEPT
            ):
                db.drop_collection(name)
            db.create_collection(f"{PREFIX}applied")
            conflicts = db[f"{PREFIX}conflicts"]
            conflicts.create_index([("status", ASCENDING), ("entity", ASCENDING), ("key", ASCENDING)])
            conflicts.create_index("commit")

    def drop(self) -> None:
        """Drop them, the position first."""
        with self._connected.translated():
            for name in NAMES:
                self._connected.db.drop_collection(PREFIX + name)

    def format(self) -> int | None:
        """The format of what is remembered; None before a fork has its position."""
        found = self._one("applied", _ONE)
        if found is None:
            return None
        if not isinstance(found.get("format"), int):
            raise Refused(
                f"the database has a collection {PREFIX}applied that no fork made",
                hint="give the fork a database of its own",
            )
        return int(found["format"])

    def begin(self, upstream: Upstream) -> None:
        """Remember a new fork, at the position before the first record."""
        position = {
            **_ONE,
            "format": FORMAT,
            "log": upstream.log,
            "name": upstream.name,
            "url": upstream.url,
            "only": sorted(upstream.only),
            "epoch": 1,
            "seq": Int64(-1),
            "hash": "0" * 64,
            "token": Int64(0),
        }
        self._set("applied", _ONE, {**position, "at": _NOW}, literal=("at",), upsert=True)

    def applied(self) -> Applied:
        """The position."""
        found = self._one("applied", _ONE)
        if found is None:
            raise Refused("the fork has lost its position", hint="commitlog fork drop and fork anew")
        upstream = Upstream(found["log"], found["name"], found["url"], frozenset(found["only"]))
        head = Head(int(found["seq"]), found["hash"])
        part = found.get("part")
        place = (int(part["seq"]), int(part["item"])) if part else None
        return Applied(upstream, int(found["epoch"]), head, int(found["token"]), found["at"], place)

    def take_over(self, url: str) -> None:
        """Count up the token, and remember where the log is read from now on."""
        self._connected.remember(
            lambda session: self._in("applied").update_one(
                _ONE, {"$inc": {"token": Int64(1)}, "$set": {"url": url}}, session=session
            )
        )

    def advance(self, applied: Applied, *, epoch: int, head: Head) -> bool:
        """Move the position; False where token or position are not those of `applied` any more."""
        known = {**_ONE, "token": applied.token, "seq": applied.head.seq}
        values = {"epoch": epoch, "seq": Int64(head.seq), "hash": head.hash, "at": _NOW, "part": None}
        return self._set("applied", known, values, literal=("at",)) == 1

    def stay(self, applied: Applied, place: Place) -> None:
        """Take the position back to before the commit in hand, whose changes before a place are applied."""
        head, part = applied.head, {"seq": Int64(place[0]), "item": place[1]}
        values = {"epoch": applied.epoch, "seq": Int64(head.seq), "hash": head.hash, "part": part}
        self._set("applied", {**_ONE, "token": applied.token}, values)

    def shapes(self) -> list[Shape]:
        """The shapes that the fork's collections are made of, in their order."""
        return [Shape.parse(data) for data in self._told("shapes")]

    def add_shape(self, shape: Shape) -> None:
        """Remember a further shape, also one that is told again, as the last."""
        self._tell("shapes", shape.id, shape.data)

    def schemas(self) -> list[bytes]:
        """The app schemas that say where fields stand in documents, in their order."""
        return self._told("schemas")

    def add_schema(self, id_: str, data: bytes) -> None:
        """Remember a further app schema."""
        self._tell("schemas", id_, data)

    def planned_to(self) -> int:
        """The seq of the log's last record when the fork was made; -1 where it is not known."""
        return int((self._one("applied", _ONE) or {}).get("planned", -1))

    def plan_to(self, seq: int) -> None:
        """Remember that."""
        self._set("applied", _ONE, {"planned": Int64(seq)})

    def entities(self) -> dict[str, EntityState]:
        """The entities that the fork has, by name."""
        names = [field.name for field in fields(EntityState)]
        return {
            found["entity"]: EntityState(**{name: found[name] for name in names}) for found in self._many("entities")
        }

    def save_entity(self, entity: EntityState) -> None:
        """Write what is known of an entity."""
        values = asdict(entity) | {"snapshot_seq": Int64(entity.snapshot_seq)}
        self._set("entities", {"_id": entity.entity}, values, upsert=True)

    def open_conflicts(self) -> int:
        """How many are open."""
        with self._connected.translated():
            return int(self._in("conflicts").count_documents({"status": "open"}, session=self._connected.session))

    def open_conflict(self, entity: str, key: str, field: str) -> tuple[str, str | None] | None:
        """(id, theirs) of the one that is open on a field of a row."""
        found = self._one("conflicts", {"status": "open", "entity": entity, "key": key, "field": field})
        return None if found is None else (found["_id"], found["theirs"])

    def open_on(self, entity: str, keys: Sequence[str]) -> list[tuple[str, str, str]]:
        """(id, key, field) of those that are open on rows of these keys."""
        found = self._many("conflicts", {"status": "open", "entity": entity, "key": {"$in": list(keys)}})
        return [(each["_id"], each["key"], each["field"]) for each in found]

    def add_conflict(self, conflict: Remembered) -> None:
        """Open one."""
        values = _values(conflict)
        values |= {"status": "open", "ours_by": None, "closed_at": None, "at": _NOW}
        self._set("conflicts", {"_id": conflict.id}, values, literal=("at",), upsert=True)

    def renew_conflict(self, conflict: Remembered) -> None:
        """Write anew what an open one says of both sides."""
        values = _values(conflict)
        for name in ("kind", "entity", "key", "field", "base"):
            del values[name]
        self._set("conflicts", {"_id": conflict.id}, values)

    def settle_conflicts(self, ids: Collection[str]) -> int:
        """Close some; how many there were."""
        values = {"status": "settled", "closed_at": _NOW}
        return self._set("conflicts", {"_id": {"$in": list(ids)}}, values, literal=("closed_at",))

    def move_conflicts(self, entity: str, key: str, newkey: str) -> None:
        """A row has another key: so have those that are open on it."""
        self._set("conflicts", {"status": "open", "entity": entity, "key": key}, {"key": newkey})

    def amend_conflicts(self, commit: str, epoch: int, by: str | None) -> None:
        """Upstream has learned later who made a commit."""
        self._set("conflicts", {"commit": commit, "epoch": epoch}, {"theirs_by": by})

    def conflicts(self, *, closed: bool, entity: str, id_: str) -> list[Mapping[str, Any]]:
        """All that is remembered of conflicts, oldest first."""
        wanted: dict[str, Any] = {} if closed else {"status": "open"}
        if entity:
            wanted["entity"] = entity
        found = sorted(self._many("conflicts", wanted), key=lambda each: (each["seq"], each["at"], each["_id"]))
        return [
            {"id": each["_id"], **{name: each[name] for name in CONFLICT_FIELDS[1:]}}
            for each in found
            if each["_id"].startswith(id_)
        ]

    # What the fork made, for `collections`.

    def made(self) -> dict[str, tuple[str, bytes]]:
        """Collection to its entity and its uuid, of those that the fork made; without uuid what it was about to make."""
        return {each["_id"]: (each["entity"], bytes(each["uuid"])) for each in self._many("made")}

    def add_made(self, name: str, entity: str, uuid: bytes) -> None:
        """Remember that the fork makes, or has made, a collection."""
        self._set("made", {"_id": name}, {"entity": entity, "uuid": Binary(uuid)}, upsert=True)

    def forget_made(self, name: str) -> None:
        """It is the fork's no more."""
        self._connected.remember(lambda session: self._in("made").delete_one({"_id": name}, session=session))

    # All of it.

    def _in(self, name: str) -> Any:
        return self._connected.db[PREFIX + name]

    def _set(
        self,
        name: str,
        wanted: Mapping[str, Any],
        values: Mapping[str, Any],
        *,
        literal: Collection[str] = (),
        upsert: bool = False,
    ) -> int:
        """Set fields of documents; those of `literal` are expressions, all others the values themselves. How many were found."""
        found = 0
        stage = {field: value if field in literal else {"$literal": value} for field, value in values.items()}

        def write(session: ClientSession | None) -> None:
            nonlocal found
            found = self._in(name).update_many(wanted, [{"$set": stage}], upsert=upsert, session=session).matched_count

        self._connected.remember(write)
        return found

    def _one(self, name: str, wanted: Mapping[str, Any]) -> dict[str, Any] | None:
        with self._connected.translated():
            found: dict[str, Any] | None = self._in(name).find_one(wanted, session=self._connected.session)
        return found

    def _many(self, name: str, wanted: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        with self._connected.translated():
            return list(self._in(name).find(wanted or {}, session=self._connected.session))

    def _told(self, name: str) -> list[bytes]:
        return [bytes(each["data"]) for each in sorted(self._many(name), key=lambda each: each["n"])]

    def _tell(self, name: str, id_: str, data: bytes) -> None:
        known = self._many(name)
        n = max((int(each["n"]) for each in known), default=0) + 1
        self._set(name, {"_id": id_}, {"n": Int64(n), "data": Binary(data)}, upsert=True)


def _values(conflict: Remembered) -> dict[str, Any]:
    """The document of a conflict, without its _id."""
    values: dict[str, Any] = asdict(conflict) | {"seq": Int64(conflict.seq)}
    del values["id"]
    for name in ("base", "ours", "theirs"):
        text = values[name]
        if text is not None and len(text) > VALUE_CHARACTERS_MAX:
            values[name] = json.dumps(f"{len(text)} characters of JSON, too many to be kept: see record {conflict.seq}")
    return values
