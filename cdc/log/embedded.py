"""The writer of an embedded log: one process, one lock, append-only segment files (schemas/README.md §9).

`append` only buffers lines that are built elsewhere; `flush` makes all of them durable at once, in their order, or none
of them. When to flush is the caller's decision.
"""

import errno
import fcntl
import os
from pathlib import Path
from typing import NoReturn

from ...schemas.errors import CommitLogError, Locked, LogUnwritable, Refused
from ...schemas.record import LINE_BYTES_MAX, Head
from .headfile import BEGINNING, DurableHead, Memory
from .location import Location, make_folder, sync_folder
from .recovery import Recovered, recover
from .segment import segment_name

SEGMENT_BYTES = 64 * 1024 * 1024
"""A segment is closed at the first flush past this size: small enough to copy and to scan, large enough to be few."""

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Writer:
    """The one writer of an embedded log. Made by `Writer.open`; used by one thread at a time.

    Attributes:
        location: The log.
        head: The last record appended, durable or not.
        durable: The last record that is on disk and that readers see.
        last: The last record as `open` found it, None in an empty log.
        unfinished: (from, to), the seqs of the parts that `open` found at the end without their last; None without such.
        adopted: How many whole records behind the durable head `open` took over from a crash.
        cut_bytes: How many bytes of a torn tail `open` cut.
        pending_bytes: How many bytes the next flush writes.
        rows_bytes_max: How many bytes the rows of one record may have.
    """

    rows_bytes_max = LINE_BYTES_MAX - LINE_BYTES_MAX // 8

    def __init__(self, location: Location, recovered: Recovered, lock_fd: int, memory: Memory | None) -> None:
        durable = recovered.durable
        self.location = location
        self.head = self.durable = durable.head
        self.last = recovered.last
        self.adopted, self.cut_bytes = recovered.adopted, recovered.cut_bytes
        self.pending_bytes = 0
        self.segment_bytes = SEGMENT_BYTES
        self._pending: list[bytes] = []
        self._segment, self._end = durable.segment, durable.end
        self._lock_fd, self._memory = lock_fd, memory
        self._head_fd = os.open(location.head, os.O_WRONLY)
        self._fd = os.open(location.segments / durable.segment, os.O_WRONLY)
        self._stopped = ""

    @classmethod
    def open(cls, location: Location, *, memory: Path | None, segment_bytes: int = SEGMENT_BYTES) -> "Writer":
        """Take the lock of a log, bring the log to a whole end, and make a new one where there is none.

        Args:
            location: The log.
            memory: A file outside the log, where this writer remembers the head; None to remember nothing.
            segment_bytes: The size past which a segment is closed.

        Raises:
            Locked: Another process writes to it.
            HistoryLost: It no longer holds what its head file or `memory` remembers.
            VerificationFailed: It is damaged in a way no crash explains.
            LogUnwritable: There is no room.
            Refused: Its files cannot be opened.
        """
        lock_fd = -1
        remembered: Memory | None = None
        try:
            make_folder(location.segments)
            make_folder(location.inbox)
            lock_fd = _lock(location)
            remembered = Memory(memory) if memory else None
            writer = cls(
                location, recover(location, remembered.read() if remembered else BEGINNING), lock_fd, remembered
            )
            writer.segment_bytes = segment_bytes
        except BaseException as exc:
            if remembered:
                remembered.close()
            if lock_fd >= 0:
                os.close(lock_fd)
            if isinstance(exc, OSError):
                raise _error(location, exc) from exc
            raise
        return writer

    @property
    def unfinished(self) -> tuple[int, int] | None:
        """See the class."""
        return self.last.unfinished if self.last else None

    def check(self) -> None:
        """Go on only while this is the writer: as long as it holds the lock."""

    def append(self, lines: bytes, head: Head) -> None:
        """Buffer one or more whole records.

        Args:
            lines: The records' lines, each with its line feed, the first following `self.head`.
            head: The last of them.
        """
        self._pending.append(lines)
        self.pending_bytes += len(lines)
        self.head = head

    def flush(self) -> None:
        """Make everything appended durable and visible to readers.

        Raises:
            LogUnwritable: There is no room. Nothing of what was appended since the last flush is visible; it is kept,
                and another flush tries again.
            Refused: The disk failed. What is on it is not known, so this writer does nothing more; `open` anew.
        """
        if self._stopped:
            raise Refused(f"log {self.location} is not open for writing: {self._stopped}")
        if not self._pending:
            return
        data = b"".join(self._pending)
        durable = self._write(data)
        try:
            os.fdatasync(self._fd)
        except OSError as exc:
            # The kernel has marked the pages clean: another sync would succeed and mean nothing.
            self._stop(exc)
        line = durable.encode()
        try:
            os.pwrite(self._head_fd, line, 0)
        except OSError as exc:
            self._stop(exc)
        self._pending, self.pending_bytes = [], 0
        self._end, self.durable = durable.end, durable.head
        if self._memory:
            try:
                self._memory.write(line)
            except OSError as exc:
                raise LogUnwritable(f"{self._memory.path} cannot be written: {exc.strerror}") from exc

    def close(self) -> None:
        """Let go of the log. What was appended and not flushed is forgotten: nobody has been told of it."""
        if self._lock_fd < 0:
            return
        self._stopped = self._stopped or "it was closed"
        for fd in (self._fd, self._head_fd, self._lock_fd):
            os.close(fd)
        self._lock_fd = -1
        if self._memory:
            self._memory.close()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _write(self, data: bytes) -> DurableHead:
        """Write `data` behind the durable end; what does not fit is taken back whole."""
        try:
            if self._end >= self.segment_bytes:
                self._rotate()
            at, view = self._end, memoryview(data)
            while view:
                written = os.pwrite(self._fd, view, at)
                at, view = at + written, view[written:]
        except OSError as exc:
            if exc.errno not in _NO_ROOM:
                self._stop(exc)
            self._take_back()
            raise _error(self.location, exc) from exc
        return DurableHead(self.head, self._segment, at)

    def _rotate(self) -> None:
        """Go on in a new segment. The full one is on disk: a flush precedes every rotation."""
        name = segment_name(self.durable.seq + 1)
        fd = os.open(self.location.segments / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            sync_folder(self.location.segments)
        except OSError:
            os.close(fd)
            raise
        os.close(self._fd)
        self._fd, self._segment, self._end = fd, name, 0

    def _take_back(self) -> None:
        try:
            os.ftruncate(self._fd, self._end)
        except OSError as exc:
            self._stop(exc)

    def _stop(self, exc: OSError) -> NoReturn:
        """End this writer after an error that leaves the state of the disk unknown.

        Raises:
            CommitLogError: Always.
        """
        self._stopped = f"an earlier write failed ({exc.strerror})"
        try:
            os.ftruncate(self._fd, self._end)
        except OSError as second:
            exc.add_note(f"the segment could not be cut back either: {second.strerror}")
        raise _error(self.location, exc) from exc


def _error(location: Location, exc: OSError) -> CommitLogError:
    if exc.errno in _NO_ROOM:
        return LogUnwritable(
            f"log {location} cannot be appended to: {exc.strerror}", hint=f"make room on the disk of {location.root}"
        )
    return Refused(
        f"log {location} cannot be written: {exc.strerror or exc}", hint=f"look at the disk of {location.root}"
    )


def _lock(location: Location) -> int:
    """The descriptor that holds the log's lock; closing it, or the end of the process, lets go."""
    fd = os.open(location.lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.pwrite(fd, f"{os.getpid():<19}\n".encode(), 0)
    except BlockingIOError as exc:
        holder = os.pread(fd, 20, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(fd)
        raise Locked(
            f"log {location} is being written by process {holder}", hint="stop that process, or let it do the work"
        ) from exc
    except OSError:
        os.close(fd)
        raise
    return fd
