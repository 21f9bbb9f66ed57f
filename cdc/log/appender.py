"""Appending without waiting for the disk: one flush at a time in a thread of its own, while further lines gather.

Order and durability are those of the writer below: a flush makes a whole prefix durable, and the next begins after it has ended.
"""

import time
from concurrent.futures import Future, ThreadPoolExecutor

from ...schemas.record import Head
from ..failpoint import failpoint
from .home import LogWriter


class Appender:
    """The worker's way to its log. Used by one thread.

    Args:
        writer: The log's writer; nobody else uses it meanwhile.
        mark: What the log holds durably at the start, in the caller's own terms: here the source's position.
        bytes_max: With more than this gathered behind a running flush, `append` waits, so that memory stays bounded.

    Attributes:
        durable: The mark of the last flush that has ended.
        pending_bytes: Appended and not yet handed to a flush.
        flushed_at: When the last flush ended, in seconds since 1970; 0 before the first.
    """

    def __init__(self, writer: LogWriter, mark: int, *, bytes_max: int) -> None:
        self.durable = mark
        self.pending_bytes = 0
        self.flushed_at = 0.0
        self._writer, self._bytes_max = writer, bytes_max
        self._lines: list[bytes] = []
        self._head = writer.head
        self._thread = ThreadPoolExecutor(1, "flush")
        self._running: Future[None] | None = None
        self._running_mark = mark

    @property
    def head(self) -> Head:
        """The last durable record."""
        return self._writer.durable

    @property
    def idle(self) -> bool:
        """Whether everything appended is durable and `durable` says so."""
        return not self._lines and self._running is None

    def append(self, lines: bytes, head: Head) -> None:
        """Gather one or more whole records, `head` being the last of them.

        Raises what `collect` raises, where it has to wait.
        """
        self._lines.append(lines)
        self._head = head
        self.pending_bytes += len(lines)

    def start(self, mark: int) -> None:
        """Begin to make everything gathered durable, unless a flush is still running and memory allows to wait for it.

        Args:
            mark: What `durable` is to be when it has ended.
        """
        self.collect(wait=self.pending_bytes > self._bytes_max)
        if self._running is not None or not self._lines:
            return
        failpoint("before_append")
        data, head = b"".join(self._lines), self._head
        self._lines, self.pending_bytes = [], 0
        self._running_mark = mark
        self._running = self._thread.submit(self._flush, data, head)

    def collect(self, *, wait: bool = False) -> None:
        """Take note of a flush that has ended.

        Raises:
            LogUnwritable: There is no room; nothing of that flush is visible, and this appender is to be thrown away.
            Refused: The disk failed.
        """
        running = self._running
        if running is None or not (wait or running.done()):
            return
        running.result()  # a flush that failed stays the one that runs: it is raised again, and nothing begins after it
        self._running = None
        failpoint("after_append")
        self.durable = self._running_mark
        self.flushed_at = time.time()

    def flush(self, mark: int) -> None:
        """Make everything gathered durable before returning. Raises what `collect` raises."""
        self.collect(wait=True)
        self.start(mark)
        self.collect(wait=True)
        self.durable = mark

    def close(self) -> None:
        """Wait for a running flush, whatever becomes of it; what is gathered is forgotten."""
        self._thread.shutdown(wait=True)

    def _flush(self, data: bytes, head: Head) -> None:
        self._writer.append(data, head)
        self._writer.flush()
