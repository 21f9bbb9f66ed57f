"""What a running worker knows of itself: does it live, is it ready, and its figures. Written by its one thread, read by any.

Nothing here is paid per row: the stream counts as it goes, and everything else is worked out when somebody asks.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from ..log.appender import Appender

if TYPE_CHECKING:  # the driver is not needed to tell of what it has read
    from ..tail.catalog import Slot

STUCK_SILENCES = 2
"""The worker's thread waits for a silent server as long as `limits.silence_s`; at twice that it hangs."""


@dataclass(slots=True)
class Counts:
    """What a worker has done since it started, over all its attempts."""

    commits: int = 0
    rows: int = 0
    untagged: int = 0
    unpublished: int = 0


@dataclass(slots=True)
class Level:
    """How the log stands to the end of the source's WAL.

    Args:
        wal_end: The furthest end of the WAL that is known.
        behind: Whether there was WAL not yet read, when last looked at.
        even_at: When there was none last, in seconds since 1970; 0 for not yet.
        commit_at: The source's time of the last commit, in seconds since 1970; 0 before the first.
    """

    wal_end: int = 0
    behind: bool = True
    even_at: float = 0.0
    commit_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The snapshot in hand: of which entity, how many rows this worker recorded of it, and how many it expects in all."""

    entity: str
    rows: int
    expected: int

    def grown(self, entity: str, rows: int, expected: int) -> "Snapshot":
        """With a further chunk.

        Args:
            entity: Whose; another one begins anew.
            rows: Of the chunk.
            expected: From the chunk's start to the table's end.
        """
        if entity != self.entity:
            return Snapshot(entity, rows, max(rows, expected))
        # The first guess holds: of what is left behind a key, a planner without statistics knows less.
        return Snapshot(entity, self.rows + rows, max(self.rows + rows, self.expected))


@dataclass(slots=True)
class Vitals:
    """A worker's state as others may see it.

    Args:
        silence_s: How long its thread may wait for a server.
        counts: What was done since the start.
        attempts: How often it began to connect.
        reloads: How often the app schemas were read again, or could not be.
        waits: How often a commit had to wait for the app schema of its build.
        sessions_malformed: Messages of the topic of session records that were none, since the start.
        snapshot_rows: Rows recorded in snapshots since the start.
        snapshot: The one in hand, or the last one.
        snapshots_left: How many entities lack their whole snapshot.
        trouble: Why it does not stream, empty while it does.
        waiting_for: What app schema a commit waits for, empty when none does.
        slot: The slot as last looked at.
        level: How the log stands to the source.
        appender: The way to the log of the attempt in hand, or the last one.
        unknown_builds: Gives the number of builds that no app schema names.
    """

    silence_s: float
    counts: Counts = field(default_factory=Counts)
    attempts: int = 0
    reloads: int = 0
    waits: int = 0
    sessions_malformed: int = 0
    snapshot_rows: int = 0
    snapshot: Snapshot = Snapshot("", 0, 0)
    snapshots_left: int = 0
    trouble: str = "it has only just started"
    waiting_for: str = ""
    slot: "Slot | None" = None
    level: Level = field(default_factory=Level)
    appender: Appender | None = None
    unknown_builds: Callable[[], int] = int
    _beat: float = field(default_factory=time.monotonic)

    def beat(self) -> None:
        """The worker's thread is alive."""
        self._beat = time.monotonic()

    def observe(self, read: int, *, told: int, commit: str | None) -> None:
        """Take note of where the stream is.

        Args:
            read: Up to where everything was read.
            told: The furthest end of the WAL that the source has told of.
            commit: The last commit's time, as records have it; None before the first.
        """
        level = self.level
        level.wal_end = max(level.wal_end, told)
        level.commit_at = datetime.fromisoformat(commit).timestamp() if commit else 0.0
        level.behind = read < level.wal_end or bool(self.waiting_for)
        if not level.behind:
            level.even_at = time.time()

    def lag_s(self) -> float | None:
        """How long ago the log last held all that was committed, at most; 0 while it does, None where that is not known."""
        since = max(self.level.even_at, self.level.commit_at)
        if not since:
            return None
        return max(0.0, time.time() - since) if self.level.behind or self.trouble else 0.0

    def looked(self, slot: "Slot | None") -> None:
        """Take note of the slot, and with it of the end of the WAL."""
        self.slot = slot
        if slot is not None:
            self.level.wal_end = max(self.level.wal_end, slot.restart + slot.retained_bytes)

    def stuck(self) -> str:
        """Why the worker must be thought hanging; empty when it lives.

        Only a stream is expected to move: before it begins, a long log may have to be read, or a source waited for.
        """
        if self.trouble:
            return ""
        silent_s = time.monotonic() - self._beat
        return f"the worker's thread has not moved for {silent_s:.0f} s" if silent_s > self.patience_s else ""

    @property
    def patience_s(self) -> float:
        """How long the worker's thread may be silent."""
        return STUCK_SILENCES * self.silence_s

    def unready(self) -> str:
        """Why commits do not come into the log now; empty when they do."""
        return self.stuck() or self.trouble or self.waiting_for

    def figures(self) -> dict[str, float]:
        """The present figures, by the names of metrics.py; what is not known is left out."""
        lag_s = self.lag_s()
        figures: dict[str, float] = {
            **{f"commitlog.{name}": value for name, value in asdict(self.counts).items()},
            "commitlog.attempts": self.attempts,
            "commitlog.waits": self.waits,
            "commitlog.waiting": bool(self.waiting_for),
            "commitlog.up": not self.trouble,
            "commitlog.unknown_builds": self.unknown_builds(),
            "commitlog.sessions.malformed": self.sessions_malformed,
            "commitlog.snapshot.rows": self.snapshot_rows,
            "commitlog.snapshot.unfinished": self.snapshots_left,
        }
        appender = self.appender
        if appender is not None:
            figures["commitlog.head.seq"] = appender.head.seq
            figures["commitlog.pending"] = 0 if self.trouble else appender.pending_bytes
            figures["commitlog.lag"] = max(0, self.level.wal_end - appender.durable)
            if appender.flushed_at:
                figures["commitlog.flush.time"] = appender.flushed_at
        if lag_s is not None:
            figures["commitlog.lag.time"] = lag_s
        if self.slot is not None:
            figures["commitlog.wal.retained"] = self.slot.retained_bytes
            if self.slot.safe_bytes is not None:
                figures["commitlog.wal.safe"] = self.slot.safe_bytes
        return figures
