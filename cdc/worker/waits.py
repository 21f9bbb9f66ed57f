"""What a worker waits for between two attempts, and for how long: something out of reach, a slot that is taken, its turn."""

import logging
import threading
import time
from collections.abc import Callable

from ...schemas.errors import CommitLogError, LeaseTaken, SlotTaken, Unreachable
from ..config import Limits
from ..telemetry.vitals import Vitals

log = logging.getLogger("commitlog")

FIRST_PAUSE_S = 0.5
"""How long to wait before the second attempt; twice as long before each further one, up to retry_s."""

STEADY_S = 5.0
"""A stream that ends sooner counts as an attempt that failed: what it met, such as a full disk, is still there."""

RELEASE_MS = 7000
"""After so long without a sign of a worker that leads, as while it stands still, the source frees its slot for the next."""


class Waits:
    """The waits of one worker.

    Args:
        limits: How long they may be.
        stop: Ends a wait.
        vitals: Told what is waited for.
    """

    def __init__(self, limits: Limits, *, stop: threading.Event, vitals: Vitals) -> None:
        self._limits, self._stop, self._vitals = limits, stop, vitals
        self._begin()

    def over(self) -> None:
        """An attempt has come as far as the stream: waits begin from the shortest again, once it has been steady."""
        self._taken_since, self._queues, self._streaming_since = 0.0, False, time.monotonic()
        self._vitals.trouble = ""

    def _begin(self) -> None:
        self._pause_s, self._taken_since, self._queues, self._streaming_since = FIRST_PAUSE_S, 0.0, False, 0.0

    def within_reach(self, trouble: Unreachable) -> None:
        """Wait a while, longer each time."""
        if self._streaming_since and time.monotonic() - self._streaming_since > STEADY_S:
            self._begin()
        self._streaming_since = 0.0
        pause_s = min(self._pause_s, self._limits.retry_s)
        log.warning("%s; trying again in %.1f s", trouble, pause_s)
        self._pause(pause_s, trouble)
        self._pause_s = pause_s * 2

    def turn(self, taken: LeaseTaken, keep_up: Callable[[], object]) -> None:
        """Let a moment pass of the time, however long, that another worker writes to the log.

        Args:
            taken: That it does.
            keep_up: Reads what it writes, so that this one's turn begins at once.
        """
        if not self._queues:
            self._queues = True
            log.info("%s; waiting", taken)
        self._pause(0, taken)
        try:
            keep_up()
        except Unreachable as exc:
            self.within_reach(exc)

    def slot(self, taken: SlotTaken) -> None:
        """Wait a moment, but not for ever: a server notices that a reader is dead only after a while (wal_sender_timeout).

        Raises:
            SlotTaken: It was so for `silence_s`.
        """
        silence_s = self._limits.silence_s
        if not self._taken_since:
            self._taken_since = time.monotonic()
            log.warning("%s; waiting up to %.0f s, should its reader be dead", taken, silence_s)
        if time.monotonic() - self._taken_since > silence_s:
            raise taken
        self._pause(FIRST_PAUSE_S, taken)

    def _pause(self, pause_s: float, trouble: CommitLogError) -> None:
        self._vitals.trouble = str(trouble)
        self._stop.wait(pause_s)
