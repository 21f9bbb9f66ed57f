"""`commitlog run`: the worker as a process, its signals and its lines on stderr."""

import gc
import logging
import signal
from types import FrameType

import click

from ...schemas.errors import CommitLogError
from ..logging_setup import configure_logging
from ..printable import clean
from ..systemd import Systemd
from ..telemetry import Telemetry
from ..vitals import Vitals
from ..worker import Stopped, Worker
from .options import Invocation, log_option, pass_invocation, source_option
from .progress import watched

log = logging.getLogger("commitlog")


@click.command()
@log_option
@source_option
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", help="How lines on stderr look.")
@pass_invocation
def command(invocation: Invocation, log_format: str) -> int:
    """Run the worker: read the source's replication log, append commits to the log.

    SIGTERM or SIGINT: finish the transaction in hand, flush, acknowledge, exit 0; a second SIGINT ends it at once, and the next
    run goes on from what the log holds. SIGHUP: read the app schemas again.

    With --log-format json each line is {"time", "level", "message"}; the last of a worker that ends by an error also has
    "hint" and "exit_code". Where the environment has NOTIFY_SOCKET, systemd is told how it is; where OTEL_… variables name an
    OTLP endpoint, metrics go there, and a span for each commit of a sampled request.
    """
    configure_logging(log_format)
    # Rows make no reference cycles, so the collector has little to find among very many young objects.
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)
    try:
        _run(invocation)
    except CommitLogError as exc:
        if log_format == "text":
            raise
        log.error("%s", exc, extra={"fields": {"hint": exc.hint, "exit_code": exc.exit_code}})
        return exc.exit_code
    return 0


def _run(invocation: Invocation) -> None:
    config = invocation.load()
    worker = Worker(config)
    systemd = Systemd(worker.vitals)
    _heed_signals(worker, systemd)
    telemetry = Telemetry(config.http.address, vitals=worker.vitals, name=config.log.location.name)
    worker.tracing = telemetry.tracing
    end_progress = watched(lambda: _snapshot(worker.vitals), "rows")
    try:
        worker.run()
    except Stopped:
        return
    finally:
        end_progress()
        systemd.stopping()
        telemetry.close()


def _snapshot(vitals: Vitals) -> tuple[str, int, int] | None:
    """How far the snapshot in hand is; None when there is none, or it is not known yet."""
    found = vitals.snapshot
    if not vitals.snapshots_left or vitals.trouble or not found.entity:
        return None
    return f"snapshot of {clean(found.entity)}, {vitals.snapshots_left} left", found.rows, found.expected


def _heed_signals(worker: Worker, systemd: Systemd) -> None:
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
