"""What a worker tells systemd: that it is ready, that it lives, what it is doing, that it reads its schemas again or stops.

Source: sd_notify(3), systemd.service(5) (Type=notify, notify-reload, WatchdogSec).
"""

import os
import socket
import threading
import time

from .vitals import Vitals

INTERVAL_S = 1.0
"""How often the status is looked at."""

SOON_S = 0.05
"""How often while somebody waits for READY=1."""


class Systemd:
    """The service manager of this process; says nothing where there is none (no NOTIFY_SOCKET in the environment).

    It is ready when it streams, or waits for a source that is away: a fault of configuration or history ends it before.
    WATCHDOG=1 is kept back when the worker's thread hangs.

    Args:
        vitals: The worker's state.
    """

    def __init__(self, vitals: Vitals) -> None:
        self._vitals = vitals
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        self._interval_s = min(INTERVAL_S, _watchdog_s() / 2)
        self._watched = _watchdog_s() < float("inf")
        self._ended = threading.Event()
        self._reloads: int | None = None
        self._status = ""
        self._ready = False
        self._first = vitals.trouble
        if self._address:
            threading.Thread(target=self._watch, name="systemd", daemon=True).start()

    def reloading(self) -> None:
        """The worker was told to read its app schemas again; READY=1 follows when it has."""
        self._reloads = self._vitals.reloads
        self._say("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The worker ends."""
        self._ended.set()
        self._say("STOPPING=1", "STATUS=finishing")

    def _watch(self) -> None:
        while not self._ended.wait(SOON_S if not self._ready or self._reloads is not None else self._interval_s):
            vitals = self._vitals
            lines: list[str] = []
            begun = vitals.trouble != self._first
            reread = self._reloads is not None and vitals.reloads > self._reloads
            if (begun and not self._ready) or reread:
                self._ready, self._reloads = True, None
                lines.append("READY=1")
            status = vitals.unready() or "streaming"
            if status != self._status:
                self._status = status
                lines.append(f"STATUS={status}")
            if self._watched and not vitals.stuck():
                lines.append("WATCHDOG=1")
            if lines:
                self._say(*lines)

    def _say(self, *lines: str) -> None:
        """Send one datagram. A manager that does not listen is not waited for."""
        if not self._address:
            return
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        text = "\n".join(" ".join(line.splitlines()) for line in lines)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.settimeout(INTERVAL_S)
            try:
                sender.sendto(text.encode(errors="replace"), address)
            except OSError:
                return


def _watchdog_s() -> float:
    """How often systemd wants to hear that this process lives; infinity where it does not."""
    pid, period = os.environ.get("WATCHDOG_PID", ""), os.environ.get("WATCHDOG_USEC", "")
    meant = pid in ("", str(os.getpid())) and period.isdecimal() and int(period) > 0
    return int(period) / 1e6 if meant else float("inf")
