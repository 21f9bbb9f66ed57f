"""The connection to a fork's MongoDB: its one transaction, its lock, and what its errors mean for the fork."""

import logging
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from bson.binary import UUID_SUBTYPE, Binary
from bson.raw_bson import RawBSONDocument
from pymongo import ReadPreference, errors
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from ....schemas.errors import CommitLogError, Locked, Refused, UsageError
from ...tail.mongodb_address import UNAUTHORIZED, code, one_line, parse
from ...tail.mongodb_connection import ERRORS, connect
from ...tail.oplog.document import DOCUMENT, Value, document, element, items
from ..store import Again, Refusal, Rejected, Undone, altered, unreachable
from .lease import Lease
from .writes import RAW, Journal, Write, operation, raw

log = logging.getLogger("commitlog")

PATIENCE_S: Final = 600.0
"""An answer to a bounded batch; one that takes ten minutes is stuck."""

COMMIT_S: Final = 30.0
"""A commit whose result is unknown is asked for again so long."""

_MAJORITY: Final = WriteConcern("majority", wtimeout=60_000)

_UNIQUE, _INVALID = 11000, 121
_AGAIN: Final = frozenset({24, 46, 50, 112, 117, 225, 244, 251, 290, 11601, 11602})
"""Locks and rows that another one has, a build of an index, limits of time, a transaction that the server gave up."""

_VALUES: Final = frozenset({2, 9, 22, 52, 53, 54, 55, 56, 57, 66, 10334, 17280, 17419, 17420})
"""A document that no collection takes: its _id, its size, a name."""

_NOT_THERE: Final = frozenset({26, 73, 197})
_READ_ONLY: Final = frozenset({166, 20})

Documents = Collection[RawBSONDocument]


class Connected:
    """A connection to a fork's database.

    Args:
        url: `mongodb://…` or `mongodb+srv://…`, with a database.

    Raises:
        UsageError: The URL is none, or names no database.
        Unreachable: No primary answers.
        Refused: It does not prove who it is, or is no replica set.

    Attributes:
        refused_at: Which of the documents written last the server refused.
        refused: Changes known to be refused among others, by their id(): they are tried alone.
        written_bytes: What the transaction in hand has written.
        began: When it began, by the monotonic clock.
    """

    def __init__(self, url: str) -> None:
        self.address = parse(url, "--into")
        if not self.address.database:
            raise UsageError("--into names no database", hint="--into mongodb://HOST/DATABASE?replicaSet=NAME")
        self.client = connect(url, patience_s=PATIENCE_S, where="--into", what="the fork's database")
        self.name = self.address.database
        # One for all transactions, so that the next process can end the one that this one has open when it dies.
        self._own = self.client.start_session(causal_consistency=True)
        self.session: ClientSession | None = None
        self._journal = Journal()
        self.refused: set[int] = set()
        self.refused_at: int | None = None
        self._lock: Lease | None = None
        self._broken = self._refused = False
        self.written_bytes, self.began = 0, 0.0

    @property
    def db(self) -> Database[dict[str, Any]]:
        """The database, where what is written is kept by a majority."""
        return self.client.get_database(
            self.name,
            read_preference=ReadPreference.PRIMARY,
            write_concern=_MAJORITY,
            read_concern=ReadConcern("majority"),
        )

    def documents(self, name: str) -> Documents:
        """A collection whose documents are bytes."""
        found: Any = self.db
        raw: Documents = found.get_collection(name, codec_options=RAW)
        return raw

    def close(self) -> None:
        """End the connection."""
        if self._lock is not None:
            # One of a server that is gone is free when its time has passed.
            self._lock.free(tell=not self._broken)
        self._lock = None
        self._give_up()
        self._own.end_session()
        self.client.close()

    @property
    def broken(self) -> bool:
        """Whether it is lost."""
        return self._broken

    # The transaction.

    @contextmanager
    def transaction(self) -> Generator[None, None, None]:
        """A transaction: committed at its end, rolled back by an exception."""
        self._begin()
        try:
            yield
            self.before_commit()
        except BaseException:
            self._give_up()
            raise
        self._commit()

    def go_on(self) -> None:
        """Commit the transaction in hand, and begin another."""
        self.before_commit()
        self._commit()
        self._begin()

    def before_commit(self) -> None:
        """What is written last."""

    @contextmanager
    def savepoint(self) -> Generator[None, None, None]:
        """A part of the transaction in hand.

        A server of MongoDB gives up a whole transaction for one write that it refuses: what was written before is written again, in
        a new one, if what it replaces is still what it was.
        """
        length = self._journal.length
        try:
            yield
        except (Rejected, Undone):
            if self._refused or self._journal.length > length:
                self._journal.cut(length)
                self._give_up()
                self._start()
                self._write_again()
            raise

    def _write_again(self) -> None:
        for collection, writes in self._journal.again():
            # What was decided about a document in a transaction that is no more holds only if it is still the same.
            found = self.find(collection, [write.key for write in writes])
            if any(found.get(write.key) != write.before for write in writes):
                raise Again("documents have changed since they were read")
            self._run(collection, writes)
        for note in self._journal.notes:
            note()

    def _begin(self) -> None:
        self._journal, self.written_bytes, self.began = Journal(), 0, time.monotonic()
        self.refused.clear()
        self._start()

    def _start(self) -> None:
        with self.translated():
            self._own.start_transaction(
                read_concern=ReadConcern("snapshot"), write_concern=_MAJORITY, read_preference=ReadPreference.PRIMARY
            )
        self.session, self._refused = self._own, False

    def _give_up(self) -> None:
        """End the transaction in hand, if there is one; a server that is gone ends what it has of it by itself."""
        session, self.session = self.session, None
        if session is not None and session.in_transaction:
            session.abort_transaction()

    def _commit(self) -> None:
        session = self.session
        assert session is not None
        deadline = time.monotonic() + COMMIT_S
        try:
            while True:
                try:
                    session.commit_transaction()
                    return
                except errors.PyMongoError as exc:
                    if not exc.has_error_label("UnknownTransactionCommitResult") or time.monotonic() > deadline:
                        raise self.error(exc) from exc
        except BaseException:
            # What became of it, the position tells the next attempt.
            self._broken = True
            raise
        finally:
            self.session = None

    def remember(self, write: Callable[[ClientSession | None], None]) -> None:
        """Do what writes to the fork's memory; in a transaction it is done again where a savepoint makes it begin anew."""

        def run() -> None:
            with self.translated():
                write(self.session)

        run()
        if self.session is not None:
            self._journal.note(run)

    def find(self, collection: str, keys: Sequence[Value]) -> dict[Value, bytes]:
        """The documents of some keys, by _id."""
        if not keys:
            return {}
        wanted = document(element(kind, b"%d" % n, data) for n, (kind, data) in enumerate(keys))
        query = raw((b"_id", (DOCUMENT, document([element(4, b"$in", wanted)]))))
        with self.translated():
            found = [bytes(each.raw) for each in self.documents(collection).find(query, session=self.session)]
        return {items(each)[b"_id"]: each for each in found}

    def write(self, collection: str, writes: Sequence[Write]) -> None:
        """Change documents as they were read in this transaction.

        Raises:
            Rejected: An index or a validator refuses one; the transaction ends, and a savepoint begins it anew.
        """
        if not writes:
            return

        self._run(collection, writes)
        self.written_bytes += sum(len(write.after or b"") for write in writes)
        self._journal.add(collection, writes)

    def _run(self, collection: str, writes: Sequence[Write]) -> None:
        assert self.session is not None
        self.refused_at = None
        with self.translated():
            result = self.documents(collection).bulk_write([operation(write) for write in writes], session=self.session)
        done = result.inserted_count + result.upserted_count + result.matched_count + result.deleted_count
        if done != len(writes):
            raise Again("documents have changed since they were read")

    # The lock.

    def lock(self) -> None:
        """Keep every other fork process off this database until the connection ends.

        Raises:
            Locked: There is one.
        """
        lock = Lease(self.db["_commitlog.lock"])
        with self.translated():
            taken = lock.take(Binary(self._own.session_id["id"], UUID_SUBTYPE))
        if taken is None:
            raise Locked("another process works on this fork", hint="stop it, or let it do the work")
        self._lock = lock
        lock.start()
        if taken.session is not None:
            self._end_open_transaction(taken.session)

    def _end_open_transaction(self, session: Binary) -> None:
        """End what a process has left open that died: its transaction holds the position."""
        try:
            self.client.admin.command("killSessions", [{"id": session}])
        except errors.OperationFailure as exc:
            log.info("the server ends what the last process left open by itself, after a while: %s", one_line(exc))
        except ERRORS as exc:
            raise self.error(exc) from exc

    def database(self) -> tuple[str, str]:
        """(the replica set's id, empty where this user may not see it; the database's name)."""
        return self._replica_set(), self.name

    def place(self) -> str:
        """The replica set's id, or its name."""
        with self.translated():
            hello = self.client.admin.command("hello")
        return self._replica_set() or str(hello["setName"])

    def _replica_set(self) -> str:
        try:
            config = self.client["local"]["system.replset"].find_one({}, {"settings.replicaSetId": 1})
        except ERRORS as exc:
            if code(exc) == UNAUTHORIZED:
                return ""
            raise self.error(exc) from exc
        return str((config or {}).get("settings", {}).get("replicaSetId", ""))

    # Errors.

    @contextmanager
    def translated(self) -> Generator[None, None, None]:
        """Turn pymongo's errors into ours.

        Raises:
            Rejected: The target will not have a document.
            Again: Another transaction is in the way.
            Unreachable: No primary answers, or the connection was cut.
            Refused: A privilege, a collection or a setting is not what the fork needs.
        """
        try:
            yield
        except ERRORS as exc:
            raise self.error(exc) from exc

    def error(self, exc: Exception) -> Exception:
        """What an error of pymongo means."""
        if isinstance(exc, errors.BulkWriteError):
            return self._write_error(exc)
        number, text = code(exc), one_line(exc)
        labelled = isinstance(exc, errors.PyMongoError) and exc.has_error_label("TransientTransactionError")
        if isinstance(exc, errors.ConnectionFailure | OSError | errors.WaitQueueTimeoutError):
            self._broken = True
            return unreachable(text)
        if labelled or number in _AGAIN:
            return Again(text)
        refusal = _refusal(number)
        if isinstance(exc, errors.WriteError) or refusal is not None:
            self._refused = True
            return Rejected(refusal or "refused", text)
        return self._refused_command(number, text)

    def _write_error(self, exc: errors.BulkWriteError) -> Exception:
        details: Mapping[str, Any] = exc.details or {}
        refused: list[dict[str, Any]] = details.get("writeErrors") or []
        found = refused or details.get("writeConcernErrors") or [{}]
        number, text = int(found[0].get("code", 0)), " ".join(str(found[0].get("errmsg", exc)).split())
        if exc.has_error_label("TransientTransactionError") or number in _AGAIN or not refused:
            return Again(text)
        self._refused, self.refused_at = True, int(found[0].get("index", 0))
        return Rejected(_refusal(number) or "refused", text)

    def _refused_command(self, number: int, text: str) -> CommitLogError:
        if number == UNAUTHORIZED:
            return Refused(
                f"the fork's user may not do what it must: {text}",
                hint=f'db.grantRolesToUser(the fork\'s user, [{{role: "readWrite", db: "{self.name}"}}])',
            )
        if number in _NOT_THERE:
            return altered(text)
        if number in _READ_ONLY:
            return Refused(f"the fork's database takes no transactions: {text}", hint="give the fork a replica set")
        return Refused(f"the fork's database refused a command: {text}")


def _refusal(number: int) -> Refusal | None:
    if number == _UNIQUE:
        return "unique"
    if number == _INVALID:
        return "check"
    return "value" if number in _VALUES else None
