"""The worker: one source's stream into one log, in one thread, until told to stop.

What it promises: a transaction committed on the source stands in the log exactly once, in commit order; the source is
acknowledged only what the log holds durably. Whatever is unclear ends the attempt, and the next begins from what the log holds.
"""

import logging
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from ...schemas.errors import LeaseTaken, SlotTaken, Unreachable
from ...schemas.record import Head
from ...transforms.registry import Registry
from ..app_schemas.files import load_registry, reload_registry
from ..config import Config
from ..failpoint import failpoint
from ..log.appender import Appender
from ..log.chain import ChainWriter, Extras
from ..log.home import LogLease, open_lease, open_writer
from ..log.state import Standby
from ..tail.transaction import Transaction
from ..telemetry.vitals import Vitals
from .commits import Committer, UnknownBuild
from .duties import Duties, Parts
from .genesis import begin
from .source import Source, Stream
from .sources import open_source
from .waits import Waits

if TYPE_CHECKING:
    from ..telemetry.tracing import Tracing

log = logging.getLogger("commitlog")

IDLE_S = 0.05
"""How long a poll waits where nothing is pending: how late a command or a signal may be noticed."""
APPEND_AHEAD = 4
"""How many flushes' worth of records may gather while the disk is at one."""

FLUSH_POLL_S = 0.002
"""How long a poll waits while a flush runs: how late its end may be noticed."""

STATE_RECORDS = 50_000
"""Records after which the state cache is written again: what a restart has to fold at most, about a second."""


class Stopped(Exception):
    """The worker was told to stop in the middle of a wait."""


class Worker:
    """One source, one log.

    Args:
        config: What to read and write.
        stop: Set to end `run` after the transaction in hand.
        reload: Set to read the app schemas again.
    """

    def __init__(
        self, config: Config, *, stop: threading.Event | None = None, reload: threading.Event | None = None
    ) -> None:
        self.config = config
        self.stop = stop or threading.Event()
        self.reload = reload or threading.Event()
        self.location = config.log.location
        self.state_path = config.state_path
        self.registry = load_registry(config.schemas.path)
        self.vitals = Vitals(config.limits.silence_s, unknown_builds=lambda: self.registry.unknown)
        self.source: Source | None = None
        """That of the present attempt, or of the last one."""
        self.tracing: Tracing | None = None
        """Where the commits of traced requests are told of, if anywhere."""
        self.lease: LogLease | None = None
        """The stand in the queue of those who would write to the log, where there is one."""
        self.standby = Standby(self.location, self.state_path)
        self._waits = Waits(config.limits, stop=self.stop, vitals=self.vitals)

    def run(self) -> None:
        """Work until `stop`.

        Raises:
            CommitLogError: Something an operator must decide; what was read is in the log or will be read again.
        """
        try:
            while not self.stop.is_set():
                self._attempt()
        finally:
            self.standby.close()
            if self.lease is not None:
                self.lease.close()

    def _attempt(self) -> None:
        """Work until told to stop, or until something is out of reach or not ours yet; then wait a while."""
        try:
            self.vitals.attempts += 1
            self.vitals.reloads += reload_registry(self.config.schemas.path, self.reload, self.use)
            with Session(self) as session:
                session.run()
        except Stopped:
            return
        except LeaseTaken as exc:
            self._waits.turn(exc, keep_up=self.standby.keep_up)
        except SlotTaken as exc:
            self._waits.slot(exc)
        except Unreachable as exc:
            self._waits.within_reach(exc)

    def use(self, registry: Registry) -> None:
        """Let app schemas hold from the next attempt on."""
        self.registry = registry

    def streams(self) -> None:
        """An attempt has come as far as the stream: waits begin from the shortest again."""
        self._waits.over()
        self.vitals.beat()


class Session:
    """One attempt: from taking the log's lock to the first error, or the end.

    Every attempt starts from what the log holds, so nothing that one leaves unclear outlives it.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker, self._vitals = worker, worker.vitals
        self._tracing = worker.tracing
        worker.config.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        limits = worker.config.limits
        worker.lease = worker.lease or open_lease(worker.location)
        self._writer = open_writer(
            worker.location,
            memory=worker.config.memory_path,
            lease=worker.lease,
            segment_bytes=limits.segment_bytes,
        )
        rows_bytes_max = self._writer.rows_bytes_max
        self._limits = replace(
            limits,
            part_bytes=min(limits.part_bytes, rows_bytes_max),
            change_bytes=min(limits.change_bytes, rows_bytes_max),
        )
        self._config = replace(worker.config, limits=self._limits)
        self._source = worker.source = open_source(self._config, worker.source)
        self._stream: Stream | None = None
        self._duties: Duties | None = None
        self._appender = Appender(self._writer, 0, bytes_max=APPEND_AHEAD * self._limits.flush_bytes)
        self._flushed_at = self._covered_at = time.monotonic()

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        for part in (self._duties, self._stream, self._source, self._appender):
            if part is not None:
                part.close()
        if self._tracing is not None:
            self._tracing.durable(self._appender.head.seq, last=True)
        self._writer.close()

    def run(self) -> None:
        """Prepare, then stream until the worker is to stop."""
        stream, duties = self._start()
        self._worker.streams()
        log.info("streaming from %s at %s", self._config.source.shown, self._chain.position)
        while not self._worker.stop.is_set():
            self._vitals.beat()
            self._writer.check()
            transactions = stream.poll(self._poll_s())
            self._chain.tick()
            for _ in transactions:
                failpoint("after_read")
            at = 0
            while at < len(transactions):
                taken = self._take_run(transactions, at, duties)
                if not taken:
                    self._take(transactions[at], stream, duties)
                at += taken or 1
            self._flush(busy=stream.busy)
            self._acknowledge(stream)
            if self._tracing is not None:
                self._tracing.durable(self._appender.head.seq)
            self._reload(duties)
            duties.perform(self._readable_end(stream))
        self._cover(stream)
        self._flush_now()
        stream.acknowledge(self._appender.durable, now=True)
        self._save_state()

    def _start(self) -> tuple[Stream, Duties]:
        """Bring the log and the source together; from here on the stream continues the log.

        Raises:
            CommitLogError: They do not fit.
        """
        config, source = self._config, self._source
        state = self._state = self._worker.standby.end()
        stream = self._stream = source.open(state, self._worker.registry, leased=self._worker.lease is not None)
        if not state.genesis:
            begin(self._writer, source, state)
        source.follow(state.genesis)
        self._chain = ChainWriter(
            state.log, epoch=state.epoch, engine=source.engine, head=self._writer.head, position=state.position
        )
        self._position = self._appender.durable = source.position(state.position)
        self._saved_seq = state.head.seq
        self._void_unfinished()
        self._committer = Committer(
            self._chain, self._append, config=config, source=source, state=state, counts=self._vitals.counts
        )
        self._repeat = source.repeat_check(state, self._committer.publishes)
        parts = Parts(
            config, self._append, self._flush_now, self._chain, state, self._committer, source, stream, self._vitals
        )
        self._duties = Duties(parts, self._worker.registry)
        source.look(self._vitals)
        self._vitals.appender = self._appender
        return stream, self._duties

    def _void_unfinished(self) -> None:
        """Say of parts that a crash left without their last that they do not count; the commit comes again whole."""
        unfinished = self._writer.unfinished
        if unfinished is not None:
            self._append(self._chain.record("void", extras=Extras(void=unfinished)), self._chain.head)

    def _append(self, line: bytes, head: Head) -> None:
        """Take a line from the committer; a large commit is made durable in steps, so that memory stays bounded."""
        self._appender.append(line, head)
        if self._appender.pending_bytes >= self._limits.flush_bytes:
            self._start_flush()

    def _take_run(self, transactions: list[Transaction], start: int, duties: Duties) -> int:
        """Commit at once what is plain, up to the first transaction that is not; how many."""
        if (
            transactions[start].end <= self._position
            or transactions[-1].end > self._source.turn_at
            or self._tracing is not None
        ):
            return 0
        self._repeat.passed()
        taken = self._committer.commit_run(transactions, start)
        if taken:
            self._position = transactions[start + taken - 1].end
            for transaction in transactions[start : start + taken]:
                duties.observe(transaction)
        return taken

    def _take(self, transaction: Transaction, stream: Stream, duties: Duties) -> None:
        """Commit one transaction, unless the log holds it already.

        Raises:
            Stopped: The worker was told to stop while the transaction waited for its app schema.
        """
        try:
            if transaction.end <= self._position:
                self._repeat.repeated(transaction)
                return
            self._repeat.passed()
            if transaction.end > self._source.turn_at:
                self._pass_turn(transaction.end)
            rows = self._vitals.counts.rows
            while not self._committed(transaction):
                self._wait_for_schema(stream, duties)
            if self._tracing is not None:
                rows = self._vitals.counts.rows - rows
                commit = self._source.commit_id(transaction)
                self._tracing.committed(
                    transaction, commit, self._chain.head.seq, rows=rows, source=self._state.genesis
                )
            self._position = transaction.end
            duties.observe(transaction)
        finally:
            transaction.close()

    def _pass_turn(self, end: int) -> None:
        """Say where the source became another one, now that what ends at `end` comes from there."""
        while end > self._source.turn_at:
            self._append(self._source.turn(self._state, self._chain), self._chain.head)
        self._position = self._source.position(self._chain.position)
        self._source.follow(self._state.genesis)

    def _committed(self, transaction: Transaction) -> bool:
        try:
            self._committer.commit(transaction)
        except UnknownBuild as exc:
            if not self._vitals.waiting_for:
                self._vitals.waits += 1
                log.warning("%s; waiting. %s", exc, exc.hint)
            self._vitals.waiting_for = f"{exc}: {exc.hint}"
            return False
        self._vitals.waiting_for = ""
        return True

    def _wait_for_schema(self, stream: Stream, duties: Duties) -> None:
        """Let time pass, with the connection alive and commands answered, but nothing read."""
        self._flush_now()
        self._vitals.beat()
        stream.acknowledge(self._appender.durable)
        if self._worker.stop.wait(IDLE_S):
            raise Stopped
        self._reload(duties)
        duties.perform(self._position)

    def _reload(self, duties: Duties) -> None:
        """Read the app schemas again where the operator asked for it."""
        worker = self._worker
        self._vitals.reloads += reload_registry(self._config.schemas.path, worker.reload, duties.reload)
        worker.use(duties.registry)

    def _poll_s(self) -> float:
        """How long a poll may wait for the source: not long while a flush runs, whose end must be noticed."""
        return IDLE_S if self._appender.idle else FLUSH_POLL_S

    def _flush(self, *, busy: bool) -> None:
        """Begin to make durable what is pending: at once where the last flush has ended, so that commits share a sync as they come.

        Args:
            busy: More is at hand already: a backlog is flushed by size, and by time only now and then.
        """
        self._appender.collect()
        if self._appender.pending_bytes and (
            not busy or time.monotonic() - self._flushed_at >= self._limits.flush_ms / 1000
        ):
            self._start_flush()

    def _start_flush(self) -> None:
        self._appender.start(self._source.position(self._chain.position))
        self._flushed_at = time.monotonic()
        self._vitals.beat()
        if self._stream is not None:
            self._stream.keep_alive()
        if self._appender.head.seq - self._saved_seq >= STATE_RECORDS:
            self._save_state()

    def _flush_now(self) -> None:
        self._appender.flush(self._source.position(self._chain.position))
        self._flushed_at = time.monotonic()

    def _acknowledge(self, stream: Stream) -> None:
        """Acknowledge what is durable; where the source has gone on without anything to record, record that first."""
        ahead = self._readable_end(stream) - self._source.position(self._chain.position)
        if ahead > 0 and (
            stream.reply_due
            or self._readable_end(stream) > self._source.turn_at
            or ahead >= self._limits.coverage_bytes
            or time.monotonic() - self._covered_at >= self._limits.coverage_s
        ):
            self._cover(stream)
            self._flush_now()
        stream.acknowledge(self._appender.durable)

    def _readable_end(self, stream: Stream) -> int:
        """Up to where everything was read: never inside a transaction."""
        return self._position if stream.in_transaction else max(self._position, stream.server_end)

    def _cover(self, stream: Stream) -> None:
        """Append a coverage record up to where everything was read, unless a commit already says so."""
        self._covered_at = time.monotonic()
        end = self._readable_end(stream)
        if end > self._source.position(self._chain.position):
            self._repeat.passed()
            if end > self._source.turn_at:
                self._pass_turn(end)
            self._append(self._chain.record("coverage", position=self._source.text(end)), self._chain.head)
            self._position = end

    def _save_state(self) -> None:
        """Write the cache of the log's state as it is now, all of it durable."""
        self._flush_now()
        state = self._state
        state.head, state.position = self._appender.head, self._chain.position
        state.commit = self._committer.last or state.commit
        state.save(self._worker.state_path)
        self._saved_seq = state.head.seq
