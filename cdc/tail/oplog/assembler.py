"""Entries in, whole transactions out, in commit order. No I/O.

What a reader of it must know:

- Read with majority read concern, entries in their order, none left out but by their namespace. `position` is the timestamp of the last entry
  taken; a batch may end anywhere. Where `rest` is true after a `feed`, feed nothing to go on with it.
- `held` is the timestamp of the oldest transaction that has begun and not ended, or None. What is said to be read (coverage) must stay before
  it, and a new assembler must be fed from there on. The entries of an ordinary transaction stand side by side, so that it is None at nearly
  all times; only prepared ones, of sharded clusters, lie open for long.
- After a start feed `stamps` with the writes to `commitlog.stamps` of the 20 minutes before the position, and then `feed` from the position on.
- What ends at or before the position that the log has comes out again, and is to be dropped by its `end`.
- A transaction with definitions (definition.py) has them among its tags, as Notices; the drop of a wanted collection is a truncate, too.

Source: MongoDB, src/mongo/db/repl/oplog_entry.idl, README.md (Transactions); config.system.preimages of 6.0.
"""

from collections.abc import Callable
from itertools import islice
from typing import Final

from ....drivers.mongodb_stamp import SPAN
from ....schemas.change import DELETE, INSERT, UPDATE
from ....schemas.errors import ACCEPT_GAP, DecodeError, HistoryLost
from ....schemas.position import format_oplog
from ... import native
from ..row_change import MALFORMED
from ..spill import Spill
from .collection import CollectionRelation, row_change, truncation, untold_change
from .definition import DEFINING, DROP, EMPTY, HARMLESS, read_definition
from .diff import apply_update
from .document import Value, document_end, items
from .entry import Operation, OplogEntry, read_entry, read_operations
from .images import Images, PreImages
from .stamps import HOLDS_S, STAMPS, Stamps, stamp_of
from .transaction import OplogTransaction, Unfinished

_OPERATIONS: Final = {"i": INSERT, "u": UPDATE, "d": DELETE}
_INTERNAL: Final = frozenset(("admin", "config", "local", STAMPS[0]))
"""Databases that hold nothing of an app."""
_SYSTEM: Final = "system."
"""What the names of collections begin with that the server keeps for itself."""
_COLLECTIONS_MAX: Final = 10_000
_ROOM_BYTES: Final = 16 << 20
"""Of changes that are handed on at once."""
_PAST: Final = f"{ACCEPT_GAP} goes on behind it, with a new snapshot"
_RESTART: Final = f"commitlog setup, then {ACCEPT_GAP}, with a new snapshot"


class OplogAssembler:
    """Makes transactions of an oplog's entries.

    Args:
        replica_set: The id of the replica set, for messages.
        wanted: Whether a collection, by database and name, is to be told with its documents. Asked at each batch anew.
        spill_bytes: A transaction with more bytes of changes than this goes to a temporary file.
        pre_images: Gets pre-images, see images.py.
        database: The one whose unwanted collections are counted; empty for all.
        compiled: Have the plain entries taken by the compiled part.
    """

    def __init__(
        self,
        *,
        replica_set: str,
        wanted: Callable[[str, str], bool],
        spill_bytes: int,
        pre_images: PreImages,
        database: str = "",
        compiled: bool = native.COMPILED,
    ) -> None:
        self.position = 0
        self._replica_set = replica_set
        self._wanted = wanted
        self._spill_bytes = spill_bytes
        self._database = database
        self._images = Images(pre_images, spill_bytes)
        self._stamps = Stamps()
        self._unfinished: dict[int, Unfinished] = {}
        """By the timestamp of its last entry."""
        self._relations: dict[tuple[str, str, bytes], CollectionRelation] = {}
        self._told: dict[CollectionRelation, bool] = {}
        self._number = 0
        self._known: dict[bytes, tuple[CollectionRelation, bool, int] | bool | None] = {}
        """What the compiled part knows of collections, native/oplog.c."""
        self._compiled = compiled
        self._batch = b""
        self._at = self._behind = 0
        """Where in the batch the entry at which we stand begins and ends."""

    @property
    def held(self) -> int | None:
        """The timestamp of the oldest transaction that has begun and not ended; see the module."""
        return min((each.begin for each in self._unfinished.values()), default=None)

    @property
    def rest(self) -> bool:
        """Whether entries of the last batch are left, for `feed(b"")`: more than these would not fit into memory with their images."""
        return self._at < len(self._batch)

    def feed(self, batch: bytes) -> list[OplogTransaction]:
        """Take entries, and give the transactions that end with them.

        Args:
            batch: Whole entries one behind the other, as raw BSON; nothing, to go on with the rest of the last ones.

        Raises:
            DecodeError: They are no entries, or of a kind that is not known here.
            HistoryLost: A pre-image is missing.
        """
        if batch:
            if self.rest:
                raise ValueError("the rest of the batch before comes first")
            self._batch, self._at = batch, 0
            self._told.clear()
            self._known.clear()
        out: list[OplogTransaction] = []
        try:
            self._feed(out)
        except BaseException:
            self._at = len(self._batch)
            for each in out:
                each.close()
            raise
        return out

    def _feed(self, out: list[OplogTransaction]) -> None:
        batch, room = self._batch, _ROOM_BYTES
        while self.rest and room > 0:
            room = self._drain(out, room)
            if room <= 0 or not self.rest:
                break
            self._behind = document_end(batch, self._at, len(batch))
            entry = self._read(batch[self._at : self._behind])
            transaction = self._checked(entry)
            if transaction is not None:
                out.append(transaction)
                room -= self._bytes_of(transaction)
            self.position, self._at = entry.at, self._behind

    def _bytes_of(self, transaction: OplogTransaction) -> int:
        """How much of the room one takes; one in a temporary file takes the file."""
        changes = transaction.changes
        return self._spill_bytes if isinstance(changes, Spill) else sum(len(change) for _, change in changes)

    def _drain(self, out: list[OplogTransaction], room: int) -> int:
        """Have the plain entries that come next taken by the compiled part. How much room is left then."""
        if not self._compiled or self._unfinished:
            return room
        limits = SPAN, HOLDS_S, self._spill_bytes, room
        self._at, position, room = native.oplog_entries(
            self._batch, self._at, self._known, self._stamps.held, self._images.held, limits, OplogTransaction, out
        )
        self.position = position or self.position
        return room

    def stamps(self, batch: bytes) -> None:
        """Take stamps from before the position.

        Args:
            batch: As `feed`'s, of writes to the collection of stamps alone.
        """
        while batch or self.rest:
            self.feed(batch)
            batch = b""
        self.position = 0

    def close(self) -> None:
        """Drop what is in hand, and the temporary files."""
        for each in self._unfinished.values():
            each.close()
        self._unfinished.clear()

    def _images_end(self) -> int:
        """Up to which entry of the batch to ask for pre-images."""
        begin, end = self._at, self._behind
        for _ in range(self._images.count):
            if end == len(self._batch):
                break
            begin, end = end, document_end(self._batch, end, len(self._batch))
        return self._read(self._batch[begin:end]).at

    def _read(self, data: bytes) -> OplogEntry:
        try:
            return read_entry(data)
        except MALFORMED as exc:
            raise DecodeError(f"malformed {self._place(self.position, 'behind ')}: {exc}", hint=_PAST) from exc
        except DecodeError as exc:
            raise DecodeError(f"{exc}, {self._place(self.position, 'behind ')}", hint=exc.hint or _PAST) from exc

    def _place(self, at: int, where: str = "") -> str:
        return f"oplog entry {where}{format_oplog(at)} of replica set {self._replica_set}"

    def _checked(self, entry: OplogEntry) -> OplogTransaction | None:
        try:
            return self._take(entry)
        except DecodeError as exc:
            raise DecodeError(f"{exc}, at {self._place(entry.at)}", hint=exc.hint or _PAST) from exc
        except (*MALFORMED, KeyError) as exc:
            raise DecodeError(f"malformed {self._place(entry.at)}: {exc}", hint=_PAST) from exc

    def _take(self, entry: OplogEntry) -> OplogTransaction | None:
        self._drop_dead(entry)
        operation = entry.operation
        if operation.op == "n":
            return None
        if operation.op == "c":
            return self._command(entry)
        if self._note_stamp(entry):
            return None
        lone = Unfinished(entry.at, entry.term, self._spill_bytes)
        if not self._change(operation, entry.at, 0, lone):
            return None
        transaction = lone.transaction(entry.at, entry.time_us)
        if entry.txn_number is not None:
            transaction.tags = self._stamps.tags(entry.lsid, entry.txn_number, entry.at)
        return transaction

    def _note_stamp(self, entry: OplogEntry) -> bool:
        """Whether it writes a stamp by itself, of which note is taken."""
        operation = entry.operation
        if (operation.database, operation.collection) != STAMPS or operation.op not in ("i", "u"):
            return False
        if entry.txn_number is not None:
            self._stamps.note(entry.lsid, entry.txn_number, entry.at, operation.o)
        self._known[operation.key] = True
        return True

    def _command(self, entry: OplogEntry) -> OplogTransaction | None:
        operation = entry.operation
        if operation.database == "config":
            return None
        o = items(operation.o)
        name = next(iter(o), b"").decode(errors="replace")
        if name == "applyOps":
            return self._apply_ops(entry, o)
        if name in ("commitTransaction", "abortTransaction"):
            return self._decide(entry, commit=name == "commitTransaction")
        alone = Unfinished(entry.at, entry.term, self._spill_bytes)
        return alone.transaction(entry.at, entry.time_us) if self._define(operation, o, alone) else None

    def _apply_ops(self, entry: OplogEntry, o: dict[bytes, Value]) -> OplogTransaction | None:
        group = self._group_of(entry)
        try:
            for place, operation in enumerate(read_operations(o[b"applyOps"])):
                self._change(operation, entry.at, place, group)
        except BaseException:
            group.close()
            raise
        if entry.vectored and entry.txn_number is not None and group.tag is None:
            group.tag = next(iter(self._stamps.tags(entry.lsid, entry.txn_number, entry.at)), None)
        prepared = b"prepare" in o
        if prepared or b"partialTxn" in o:
            group.prepared = prepared
            group.last = entry.at
            self._unfinished[entry.at] = group
            return None
        return group.transaction(entry.at, entry.time_us, batched=entry.vectored)

    def _group_of(self, entry: OplogEntry) -> Unfinished:
        """The transaction that an applyOps belongs to."""
        if entry.previous and not entry.vectored:
            group = self._unfinished.pop(entry.previous, None)
            if group is None:
                raise DecodeError(f"a transaction whose entry {format_oplog(entry.previous)} was not read")
            return group
        group = Unfinished(entry.at, entry.term, self._spill_bytes)
        group.session, group.txn_number = entry.session, entry.txn_number
        return group

    def _decide(self, entry: OplogEntry, *, commit: bool) -> OplogTransaction | None:
        group = self._unfinished.pop(entry.previous, None)
        if group is None:
            if commit:
                raise DecodeError(f"a transaction whose entry {format_oplog(entry.previous)} was not read is committed")
            return None
        if commit:
            return group.transaction(entry.at, entry.time_us)
        group.close()
        return None

    def _drop_dead(self, entry: OplogEntry) -> None:
        """A transaction that is not prepared and has no end in its term, or before its session goes on, was never committed."""
        if not self._unfinished or entry.previous in self._unfinished:
            return
        for last, group in [*self._unfinished.items()]:
            goes_on = bool(entry.session) and entry.session == group.session and entry.txn_number != group.txn_number
            if not group.prepared and (entry.term > group.term or goes_on):
                self._unfinished.pop(last).close()

    def _change(self, operation: Operation, at: int, place: int, group: Unfinished) -> bool:
        """Take what one operation does, at its place in an entry. Whether it does anything that is to be told."""
        names = operation.database, operation.collection
        if operation.op == "c":
            return self._define(operation, items(operation.o), group)
        op = _OPERATIONS.get(operation.op)
        if op is None:
            if operation.op == "n":
                return False
            raise DecodeError(f"an operation {operation.op!r}, which is not known here")
        if names == STAMPS:
            self._known[operation.key] = True
            if op != DELETE:
                group.tag = stamp_of(operation.o)[1]
            return True
        if not self._counts(*names):
            self._known[operation.key] = None
            return False
        relation = self._relation(*names, operation.uuid)
        told = self._is_told(relation)
        self._known[operation.key] = relation, told, relation.oid
        if not told:
            group.keep(relation, untold_change(op, relation))
            return True
        if operation.migrated:
            raise DecodeError(f"documents of {'.'.join(names)} that a migration moves, which is not read here")
        group.keep(relation, self._row(op, relation, operation.o, at, place))
        return True

    def _row(self, op: int, relation: CollectionRelation, o: bytes, at: int, place: int) -> bytes:
        if op == INSERT:
            return row_change(op, relation, None, o)
        before = self._images.get(relation.uuid, at, place, self._images_end)
        if before is None:
            raise HistoryLost(
                f"the document of {relation.namespace}.{relation.name} that {self._place(at)} changes is not kept as it was before: "
                "its pre-image has expired, or the collection keeps none",
                hint=_RESTART,
            )
        return row_change(op, relation, before, None if op == DELETE else apply_update(before, o))

    def _counts(self, database: str, collection: str) -> bool:
        if database in _INTERNAL or collection.startswith(_SYSTEM):
            return False
        return not self._database or database == self._database

    def _relation(self, database: str, collection: str, uuid: bytes) -> CollectionRelation:
        key = database, collection, uuid
        relation = self._relations.get(key)
        if relation is None:
            if len(self._relations) >= _COLLECTIONS_MAX:
                for old in [*islice(self._relations, _COLLECTIONS_MAX // 2)]:
                    del self._relations[old]
            self._number = (self._number + 1) & 0xFFFFFFFF
            relation = self._relations[key] = CollectionRelation.of(self._number, database, collection, uuid)
        return relation

    def _is_told(self, relation: CollectionRelation) -> bool:
        told = self._told.get(relation)
        if told is None:
            told = self._told[relation] = self._wanted(relation.namespace, relation.name)
        return told

    def _define(self, operation: Operation, o: dict[bytes, Value], group: Unfinished) -> bool:
        """Take a command that defines. Whether it says anything that is to be told."""
        name = next(iter(o), b"").decode(errors="replace")
        if name in HARMLESS:
            return False
        if name not in DEFINING:
            raise DecodeError(f"a command {name!r}, which is not known here")
        definition = read_definition(name, operation.database, operation.uuid, o)
        if not any(self._counts(*names) for names in definition.names):
            return False
        group.notices.append(definition.notice())
        if name in (DROP, EMPTY):
            relation = self._relation(definition.database, definition.collection, operation.uuid)
            if self._is_told(relation):
                group.keep((relation,), truncation(relation))
        return True
