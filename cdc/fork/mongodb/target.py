"""MongoDB as the database a fork lives in: a table is a collection, a row a document.

One transaction of the fork is one multi-document transaction. What is there is read and compared here, and documents are written whole:
so what is written is exact, and nothing of a log is ever read by the server as an operator or a path.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from secrets import token_bytes
from typing import Any, Final

from bson.binary import UUID_SUBTYPE, Binary
from bson.int64 import Int64

from ....drivers.mongodb_stamp import COLLECTION, DATABASE
from ....schemas.errors import Refused
from ....schemas.record import Head
from ....transforms.table_name import TableName
from ...tail.oplog.document import Value as BsonValue
from ...tail.oplog.document import items
from ..batch import Op, Step
from ..merge import Value
from ..model import EntityModel
from ..state import Applied, advance
from ..store import Rejected, Texts
from ..table_plan import Evolution, TablePlan
from ..units import Change, Place
from . import collections
from .connection import Connected
from .documents import Documents
from .memory import MongoMemory
from .writes import Write

PART_BYTES: Final = 32 << 20
PART_S: Final = 20.0
"""What one transaction writes and how long it takes, about; a server ends one after a minute."""


class Parts:
    """Transactions as a MongoDB takes them.

    Args:
        target: The fork.
    """

    def __init__(self, target: "Target") -> None:
        self._target = target

    @property
    def full(self) -> bool:
        """Whether the transaction in hand is to be committed before more is written."""
        return self._target.written_bytes > PART_BYTES or time.monotonic() - self._target.began > PART_S

    def commit(self, applied: Applied, *, epoch: int, head: Head, place: Place) -> None:
        """Commit what was written, and go on in another transaction."""
        memory = self._target.memory
        memory.stay(applied, place)
        self._target.go_on()
        advance(memory, applied, epoch=epoch, head=head)


class Target(Connected):
    """A fork's MongoDB: the store of its contract.

    Args:
        url: `mongodb://…` or `mongodb+srv://…`, with a database.

    Raises:
        UsageError: The URL is none, or names no database.
        Unreachable: No primary answers.
        Refused: It does not prove who it is, or is no replica set.
    """

    engine = "MongoDB"
    ddl_in_transaction = False

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.memory = MongoMemory(self)
        self.parts = Parts(self)
        self._documents: dict[str, Documents] = {}
        self._tags: Sequence[str] = ()
        self._stamped = False

    def __enter__(self) -> "Target":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def shown(self, table: TableName) -> str:
        """A table has its name at the source, without its schema or database."""
        return collections.name_of(table)

    def plan_table(self, model: EntityModel) -> TablePlan:
        """See what a collection needs."""
        return collections.plan_table(self, self.memory, model)

    def plan_evolution(self, old: EntityModel, new: EntityModel) -> Evolution:
        """See what a further shape needs."""
        return collections.plan_evolution(self, old, new)

    def make_tables(self, plans: Sequence[TablePlan]) -> None:
        """Make what collections need."""
        collections.make(self, self.memory, plans)

    def evolve(self, change: Evolution) -> None:
        """Change a collection for a further shape."""
        collections.evolve(self, self.memory, change)

    def drop_tables(self) -> list[str]:
        """Drop what the fork made."""
        collections.drop(self, self.memory)
        return []

    def load(self, models: Mapping[str, EntityModel]) -> None:
        """Take over the collections as they are now."""
        self._documents = collections.load(self, self.memory, models)
        self._stamped = self._may_stamp()

    def mark(self, tags: Sequence[str]) -> None:
        """Write the last tag where drivers stamp theirs, as a transaction has one stamp; without such a place the position's own
        document tells a tail."""
        self._tags = tags[-1:] if self._stamped else ()

    def before_commit(self) -> None:
        """A stamp is the last write of its transaction."""
        if self._tags and self.session is not None:
            stamp = {"ctx": self._tags[0], "txn": Int64(0), "at": datetime.now(UTC)}
            with self.translated():
                self.client[DATABASE][COLLECTION].replace_one(
                    {"_id": self.session.session_id["id"]}, stamp, upsert=True, session=self.session
                )

    def check_at_once(self) -> None:
        """Every index and validator is checked at each write anyway."""

    def run(self, steps: Sequence[Step]) -> list[Op] | None:
        """Apply changes: what is there is read once a step, and written at once."""
        changes = [change for step in steps for change, _ in step.ops]
        if len(changes) > 1 and self.refused and not self.refused.isdisjoint(map(id, changes)):
            # Found out without the server, which would give up all that the transaction has written.
            raise Rejected("refused", "one of them was refused before")
        differing: list[Op] = []
        for step in steps:
            documents = self._documents[step.signature[0]]
            writes = self._writes(documents, step, differing)
            if writes is None:
                return None
            try:
                self.write(documents.name, [write for write, _ in writes])
            except Rejected:
                if self.refused_at is not None:
                    self.refused.add(id(writes[self.refused_at][1]))
                raise
        return differing

    def _writes(self, documents: Documents, step: Step, differing: list[Op]) -> list[tuple[Write, Change]] | None:
        """The writes of a step; None where a document is not as upstream says it was."""
        moved = [documents.key(change["newkey"]) for change, _ in step.ops if "newkey" in change]
        keys = [documents.key(change["key"]) for change, _ in step.ops]
        there = self.find(documents.name, list(dict.fromkeys(keys + moved)))
        writes: list[tuple[Write, Change]] = []
        for key, (change, origin) in zip(keys, step.ops, strict=True):
            found = _writes_of(documents, step.signature[1], change, key, there)
            if found is None:
                if step.signature[1] != "row":
                    return None
                differing.append((change, origin))
            else:
                writes += [(write, change) for write in found]
        return writes

    def read(self, entity: str, key: Mapping[str, Any]) -> Texts | None:
        """The row of a key. That nobody changes it meanwhile the server sees when it is written."""
        documents = self._documents[entity]
        before = self._one(documents, documents.key(key))
        return None if before is None else documents.texts(before)

    def cast(self, entity: str, values: Mapping[str, Any]) -> Texts:
        """Values of a record as a document gives them back."""
        return self._documents[entity].cast(values)

    def cast_all(self, entity: str, rows: Sequence[Mapping[str, Any]]) -> list[Texts]:
        """As `cast`, of many rows."""
        return [self.cast(entity, row) for row in rows]

    def scan(self, entity: str) -> Iterator[Texts]:
        """All rows, as `read` gives them."""
        documents = self._documents[entity]
        with self.translated():
            for each in self.documents(documents.name).find({}):
                yield documents.texts(bytes(each.raw))

    def insert(self, entity: str, after: Mapping[str, Any]) -> None:
        """Write a new document."""
        documents = self._documents[entity]
        self.write(documents.name, [Write(documents.key(after), None, documents.made(after))])

    def update(self, entity: str, key: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        """Set fields of the document of a key."""
        documents = self._documents[entity]
        at = documents.key(key)
        before = self._one(documents, at)
        if before is not None:
            newkey = {field: after[field] for field in documents.model.key if field in after}
            change = {"after": after, "newkey": {**key, **newkey}}
            found = _moved(documents, change, at, before)
            if len(found) == 2 and self._one(documents, found[1].key) is not None:
                raise Rejected("unique", f"collection {documents.name} has a document of that _id")
            self.write(documents.name, found)

    def delete(self, entity: str, key: Mapping[str, Any]) -> None:
        """Delete the document of a key."""
        documents = self._documents[entity]
        at = documents.key(key)
        before = self._one(documents, at)
        if before is not None:
            self.write(documents.name, [Write(at, before, None)])

    def value(self, entity: str, field: str, text: Value) -> object:
        """What a record would hold for a value of the fork."""
        return self._documents[entity].forms[field].shown_value(text)

    def holds_more(self, entity: str, keys: Sequence[Mapping[str, Any]]) -> bool:
        """Whether a document has keys that the log does not tell of. The server knows of no references."""
        return any(self._has_more(entity, key) for key in keys)

    def _has_more(self, entity: str, key: Mapping[str, Any]) -> bool:
        documents = self._documents[entity]
        before = self._one(documents, documents.key(key))
        if before is None:
            return False
        texts = documents.texts(before)
        after = {field: self.value(entity, field, text) for field, text in texts.items()}
        return not items(before).keys() <= items(documents.made(after)).keys()

    def notes(self, plans: Sequence[TablePlan]) -> list[str]:
        """What the owner should know of all collections together."""
        return collections.notes(plans)

    def _one(self, documents: Documents, key: BsonValue) -> bytes | None:
        return self.find(documents.name, [key]).get(key)

    def _may_stamp(self) -> bool:
        """Whether `commitlog setup` made a place for stamps, and this user may write there."""
        try:
            with self.translated():
                stamps = self.client[DATABASE]
                if not stamps.list_collection_names(filter={"name": COLLECTION}, authorizedCollections=True):
                    return False
                nobody = Binary(token_bytes(16), UUID_SUBTYPE)
                stamps[COLLECTION].update_one({"_id": nobody}, {"$set": {"ctx": ""}})
        except Refused:
            return False
        return True


def _writes_of(
    documents: Documents, kind: str, change: Change, key: BsonValue, there: Mapping[BsonValue, bytes]
) -> list[Write] | None:
    """The writes of a change; None where its document is not as upstream says it was."""
    before = there.get(key)
    if kind in ("insert", "row"):
        if before is None:
            return [Write(key, None, documents.made(change["after"]))]
        return [] if kind == "row" and _same(documents, before, change["after"]) else None
    if before is None or not _same(documents, before, change.get("before", {})):
        return None
    if kind == "delete":
        return [Write(key, before, None)]
    found = _moved(documents, change, key, before)
    return None if len(found) == 2 and found[1].key in there else found


def _moved(documents: Documents, change: Mapping[str, Any], key: BsonValue, before: bytes) -> list[Write]:
    """The writes of an update: a document cannot get another _id, so one that does is deleted and written again."""
    newkey = documents.key(change["newkey"]) if "newkey" in change else key
    after = documents.changed(before, newkey, change["after"])
    if newkey == key:
        return [Write(key, before, after)]
    return [Write(key, before, None), Write(newkey, None, after)]


def _same(documents: Documents, whole: bytes, told: Mapping[str, Any]) -> bool:
    """Whether a document is what upstream says, as far as that tells."""
    ours = documents.texts(whole, told)
    return all(ours[field] == text for field, text in documents.cast(told).items())
