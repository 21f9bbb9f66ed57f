"""The fork at work: reads the log from where the target stands, applies it, and goes on until told to stop.

What it promises: a transaction of the source is applied whole and once, in its order, together with the position behind it, the
mark of its origin and its conflicts. Whatever is unclear ends the attempt; the next begins from what the target holds.
"""

import hashlib
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import TracebackType

from ...drivers.tag import VALUE_BYTES_MAX, encode
from ...schemas.errors import HistoryLost, Locked, Refused, Unreachable, VerificationFailed
from ...schemas.record import Head, Record
from ...schemas.shape import Shape
from ..failpoint import failpoint
from ..log.home import LogGroup, LogReader, open_group
from . import state
from .apply import Applier
from .conflicts import Conflicts
from .growth import Growth, plan_growth
from .model import EntityModel, fold
from .plan import DOCUMENTS, schema_of, shapes_of, source_engine
from .store import Again, Rejected, Store
from .tabular import suited
from .targets import open_target
from .units import Origin, Unit, Units

log = logging.getLogger("commitlog")

GROUP_UNITS = 1000
GROUP_BYTES = 4 * 1024 * 1024
"""Small commits share a target transaction up to this many, or this many bytes of bodies: one sync for all of them."""

AGAIN_MAX = 10
"""How often a transaction is tried again after a deadlock, before the attempt ends and a pause comes."""

AGAIN_PAUSE_S = 0.05

STOP_S = 3.0
"""A transaction that has run longer is given up when the fork is told to stop; a shorter one is finished."""

LOCK_FREE_S = 15.0
"""How long the lock may look taken after a restart, until the server has noticed that the last process is dead."""

PAUSE_S, PAUSE_S_MAX = 0.5, 30.0

_TRUNCATE = b'"op":"truncate"'
"""It may stand for more changes than a transaction takes."""

_ALONE = frozenset({"schema", "shape", "snapshot", "gap"})
_MARKED = frozenset({"commit", "snapshot"})


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a fork is.

    Args:
        seq: The last record applied.
        head_seq: The log's last record, as last seen.
        changes: How many changes this process has applied.
        conflicts: How many conflicts are open.
    """

    seq: int
    head_seq: int
    changes: int
    conflicts: int


class Follower:
    """Follows one log into one target.

    Args:
        url: The target.
        reader: The log.
        stop: Set to end `run` after the transaction in hand.
        report: Told of the progress at the start of each attempt and after each transaction.
    """

    def __init__(
        self, url: str, reader: LogReader, *, stop: threading.Event, report: Callable[[Progress], None] = lambda _: None
    ) -> None:
        self.url, self.reader, self.stop, self.report = url, reader, stop, report

    def run(self, *, once: bool = False) -> None:
        """Apply until `stop`, or with `once` up to the head as it is now.

        Raises:
            CommitLogError: Something the fork's owner must decide; the target stands where it stood.
        """
        until = self.reader.head().seq if once else None
        pause_s, locked_since = PAUSE_S, 0.0
        while not self.stop.is_set():
            try:
                with Session(self) as session:
                    pause_s, locked_since = PAUSE_S, 0.0
                    session.run(until)
                    return
            except Stopped:
                return
            except Locked as exc:
                if not locked_since:
                    locked_since = time.monotonic()
                    log.warning("%s; waiting up to %.0f s, for it may be one that is no more", exc, LOCK_FREE_S)
                if time.monotonic() - locked_since > LOCK_FREE_S:
                    raise
                self.stop.wait(PAUSE_S)
            except Unreachable as exc:
                if once and pause_s >= PAUSE_S_MAX:
                    raise
                log.warning("%s; trying again in %.1f s", exc, pause_s)
                self.stop.wait(pause_s)
                pause_s = min(pause_s * 2, PAUSE_S_MAX)


class Stopped(Exception):
    """The fork was told to stop in the middle of a transaction, which is then as if it never was."""


class Session:
    """One attempt: from taking the target's lock to the first error, or the end."""

    def __init__(self, follower: Follower) -> None:
        self._follower, self._reader = follower, follower.reader
        self._target = open_target(follower.url)
        self._shown: LogGroup | None = None
        try:
            self._target.lock()
            self._engine = source_engine(self._reader.record(0))
            self._target = suited(self._target, self._engine)
            self._applied = state.take_over(self._target.memory, str(self._reader.location))
            self._check_log()
            self._conflicts = Conflicts(self._target.memory, self._applied.upstream.log)
            self._entities = self._target.memory.entities()
            self._models: dict[str, EntityModel] = {}
            self._applier = Applier(
                self._target,
                self._reader,
                models=self._models,
                entities=self._entities,
                conflicts=self._conflicts,
            )
            self._applier.pause = self._stop_a_long_one
            self._applier.part, self._applier.begun = self._part, self._applied.part
            self._load_tables()
            self._shown = open_group(self._reader, group_name(self._target))
            self._report(self._reader.head().seq)
        except BaseException:
            self._close()
            raise
        self._group: list[Unit] = []
        self._group_bytes = 0
        self._began, self._alone = 0.0, False

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._applier.close()
        self._close()

    def _close(self) -> None:
        self._target.close()
        if self._shown is not None:
            self._shown.close()

    def run(self, until: int | None) -> None:
        """Apply what the log holds, to `until`, or for ever."""
        head = self._applied.head
        units = Units(head)
        seen = self._reader.head().seq
        for record in self._records(head, until):
            unit = units.take(record)
            if unit is not None:
                self._take(unit, seen)
            if record.seq >= seen:
                seen = self._reader.head().seq
            if record.seq >= seen or len(self._group) >= GROUP_UNITS or self._group_bytes >= GROUP_BYTES:
                self._flush(seen)
        self._flush(seen)

    def _records(self, head: Head, until: int | None) -> Iterator[Record]:
        after = head if head.seq >= 0 else None
        if until is None:
            return self._reader.follow(head.seq + 1, stop=self._follower.stop, after=after)
        return self._reader.records(head.seq + 1, until=until, after=after)

    def _check_log(self) -> None:
        """See that the log is still the one that was applied.

        Raises:
            HistoryLost: It ends before what was applied.
            VerificationFailed: It holds something else there.
        """
        head, location = self._applied.head, self._reader.location
        end = self._reader.head().seq
        if end < head.seq:
            raise HistoryLost(
                f"log {location} ends at record {end}, and the fork has applied {head.seq}",
                hint="put back the newer copy of the log",
            )
        if head.seq >= 0 and self._reader.record(head.seq).hash != head.hash:
            raise VerificationFailed(
                f"log {location} holds another record {head.seq} than the fork has applied: it was written anew",
                seq=head.seq,
                hint=f"commitlog verify {location} --head {head}",
            )

    def _load_tables(self) -> None:
        self._models.clear()
        self._models.update(self._fold())
        self._target.load(self._models)
        self._entities.update(self._target.memory.entities())
        self._applier.forget()

    def _fold(self) -> dict[str, EntityModel]:
        memory = self._target.memory
        schemas = memory.schemas() if self._engine == DOCUMENTS else ()
        return fold(memory.shapes(), self._applied.upstream.only, engine=self._engine, schemas=schemas)

    def _take(self, unit: Unit, seen: int) -> None:
        """Put a unit into the group; what must have a transaction to itself is applied at once."""
        alone = unit.items is None or unit.kind in _ALONE or _TRUNCATE in unit.last.body_bytes
        if alone:
            self._flush(seen)
        self._group.append(unit)
        self._group_bytes += len(unit.last.body_bytes)
        if alone:
            self._flush(seen)

    def _flush(self, seen: int) -> None:
        group, self._group, self._group_bytes = self._group, [], 0
        if group:
            self._apply(group)
            self._report(seen)

    def _report(self, seen: int) -> None:
        seq = self._applied.head.seq
        if self._shown is not None:
            self._shown.applied(seq)
        self._follower.report(Progress(seq, max(seen, seq), self._applier.changes, self._conflicts.open))

    def _apply(self, group: list[Unit]) -> None:
        """Apply units in one transaction of the target, or one by one where its constraints refuse them together.

        Raises:
            Refused: The target does not commit a unit whatever is left out of it.
            Unreachable: Local transactions are in the way for too long.
        """
        immediate = False
        for _ in range(AGAIN_MAX):
            try:
                self._transaction(group, immediate=immediate)
                return
            except Again as exc:
                if self._follower.stop.is_set():
                    raise Stopped from exc
                log.info("a local transaction is in the way (%s): trying again", exc)
                self._follower.stop.wait(AGAIN_PAUSE_S)
            except Rejected as exc:
                if len(group) > 1:
                    for unit in group:
                        self._apply([unit])
                    return
                if immediate:
                    raise Refused(
                        f"the fork's database does not commit record {group[0].last.seq}: {exc}",
                        hint="look at what its deferred triggers do",
                    ) from exc
                # A deferred constraint refuses at the end and does not say what: now each change answers for itself.
                immediate = True
        raise Unreachable("local transactions of the fork's database are in the way of upstream's for too long")

    def _transaction(self, group: list[Unit], *, immediate: bool) -> None:
        last = group[-1].last
        epoch = last.header["epoch"]
        growth = self._growth(group[0])
        self._began, self._alone = time.monotonic(), len(group) == 1
        try:
            if growth and not self._target.ddl_in_transaction:
                growth.make(self._target)
                failpoint("after_target_tables")
            with self._target.transaction():
                if immediate:
                    self._target.check_at_once()
                state.advance(self._target.memory, self._applied, epoch=epoch, head=last.head)
                self._target.mark([_mark(unit) for unit in group if unit.kind in _MARKED] or [_mark(group[-1])])
                if growth and self._target.ddl_in_transaction:
                    growth.make(self._target)
                if growth:
                    growth.remember(self._target)
                self._applier.apply(group)
                self._remember(group)
                failpoint("before_target_commit")
        except BaseException:
            self._forget()
            raise
        failpoint("after_target_commit")
        self._applied, self._applier.begun = replace(self._applied, epoch=epoch, head=last.head, part=None), None
        if growth:
            self._load_tables()

    def _remember(self, group: list[Unit]) -> None:
        """Take over what records say that are no changes."""
        for unit in group:
            ref = unit.last.header.get("ref")
            if unit.kind == "amend" and ref and self._conflicts.open:
                amended = self._reader.record(ref["seq"]).header
                self._conflicts.amend(amended["id"], amended["epoch"], unit.by)
            elif unit.kind == "gap":
                for entity in self._entities.values():
                    entity.complete, entity.again = False, True
                    self._target.memory.save_entity(entity)

    def _forget(self) -> None:
        """A transaction was rolled back, and with it what was learned in it."""
        self._applier.close()
        if not self._target.broken:
            self._conflicts.recount()
            self._entities.update(self._target.memory.entities())

    def _growth(self, unit: Unit) -> Growth | None:
        """What a record of shapes, or of an app schema of documents, changes in the target; None for others, and where it says nothing new.

        Raises:
            Refused: The target cannot follow.
        """
        if unit.kind == "schema" and self._engine == DOCUMENTS:
            schema = schema_of(unit)
            if schema[1] in self._target.memory.schemas():
                return None
            return plan_growth(self._target, self._models, (), engine=self._engine, schemas=(schema,))
        if unit.kind != "shape":
            return None
        only = self._applied.upstream.only
        known = self._target.memory.shapes()
        told = [shape for shape in shapes_of(unit) if not only or shape.entity in only]
        beyond = unit.first_seq > self._target.memory.planned_to()
        new = [shape for shape in told if shape not in known or (beyond and self._is_other(shape))]
        return plan_growth(self._target, self._models, new, engine=self._engine) if new else None

    def _is_other(self, shape: Shape) -> bool:
        """Whether a shape that is told again says otherwise than those after it."""
        model = self._models[shape.entity]
        return model.then(shape) != model

    def _part(self, origin: Origin) -> None:
        """Called between the batches of a transaction: where it has become too large, what is applied is kept."""
        parts, last, place = self._target.parts, origin.unit.last, origin.place
        if parts is None or not self._alone or not parts.full:
            return
        parts.commit(self._applied, epoch=last.header["epoch"], head=last.head, place=place)
        self._applied, self._applier.begun = replace(self._applied, part=place), place
        failpoint("after_target_part")

    def _stop_a_long_one(self) -> None:
        """Called between the batches of a transaction: a long one does not hold up the end."""
        if self._follower.stop.is_set() and time.monotonic() - self._began > STOP_S:
            raise Stopped


def group_name(target: Store) -> str:
    """What a fork is called where its position is shown to others: by its database and the server's identifier."""
    database = target.database()[1]
    place = hashlib.sha256(target.place().encode()).hexdigest()[:8]
    return f"fork.{re.sub('[^A-Za-z0-9._-]', '_', database)}.{place}"


def _mark(unit: Unit) -> str:
    """The tag of a transaction that applies a unit: a tail of the fork's own database knows by it where it came from."""
    cause, header = unit.last.header["id"], unit.last.header
    if len(cause.encode()) > VALUE_BYTES_MAX:
        cause = f"{header['log']}:{header['epoch']}:{header['seq']}"
    return encode({"cause": cause})[0].decode()
