"""The worker as a process: its signals, its lines on stderr, and whom it tells how it is."""

import gc
import logging
import signal
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType

from ..config import Config
from ..printable import clean
from ..telemetry.metrics import Telemetry
from ..telemetry.systemd import Systemd
from ..telemetry.vitals import Vitals
from ..worker.worker import Stopped, Worker
from .progress import watched

log = logging.getLogger("commitlog")


def work(config: Config) -> None:
    """Run a worker until it is told to stop.

    Raises:
        CommitLogError: It cannot go on.
        KeyboardInterrupt: It was told twice.
    """
    # Rows make no reference cycles, so the collector has little to find among very many young objects.
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)
    worker = Worker(config)
    systemd = Systemd(worker.vitals)
    # From the right: signals are heeded no longer, a stop is no error, and what was opened is closed.
    with ExitStack() as opened, suppress(Stopped), _signals_heeded(worker, systemd):
        telemetry = Telemetry(config.http.address, vitals=worker.vitals, name=config.log.location.name)
        opened.callback(telemetry.close)
        opened.callback(systemd.stopping)
        opened.callback(watched(lambda: _snapshot(worker.vitals), "rows"))
        worker.tracing = telemetry.tracing
        worker.run()


def _snapshot(vitals: Vitals) -> tuple[str, int, int] | None:
    """How far the snapshot in hand is; None when there is none, or it is not known yet."""
    found = vitals.snapshot
    if not vitals.snapshots_left or vitals.trouble or not found.entity:
        return None
    return f"snapshot of {clean(found.entity)}, {vitals.snapshots_left} left", found.rows, found.expected


@contextmanager
def _signals_heeded(worker: Worker, systemd: Systemd) -> Generator[None]:
    """Let signals reach the worker in the block; after it, it ends anyway, and only Ctrl-C hastens that."""
    stop = worker.stop

    def on_stop(number: int, _: FrameType | None) -> None:
        again = stop.is_set()
        stop.set()
        if again and number == signal.SIGINT:
            raise KeyboardInterrupt
        if again:
            return
        log.info("%s: finishing", signal.Signals(number).name)
        systemd.stopping()
        if worker.vitals.trouble:
            # No transaction is in hand: whatever is waited for need not be awaited.
            raise Stopped

    def on_reload(_: int, __: FrameType | None) -> None:
        systemd.reloading()
        worker.reload.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_stop)
    signal.signal(signal.SIGHUP, on_reload)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
