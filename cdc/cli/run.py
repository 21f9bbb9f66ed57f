"""`commitlog run`: the worker as a process, its signals and its lines on stderr."""

import gc
import logging
import signal
import threading
from types import FrameType

import click

from ..logging_setup import configure_logging
from ..telemetry import Telemetry
from ..worker import Worker
from .options import Invocation, log_option, pass_invocation, source_option


@click.command()
@log_option
@source_option
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", help="How lines on stderr look.")
@pass_invocation
def command(invocation: Invocation, log_format: str) -> int:
    """Run the worker: read the source's replication log, append commits to the log.

    SIGTERM or SIGINT: finish the transaction in hand, flush, acknowledge, exit 0. SIGHUP: read the app schemas again.
    """
    configure_logging(log_format)
    # Rows make no reference cycles, so the collector has little to find among very many young objects.
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)
    stop, reload = threading.Event(), threading.Event()

    def on_stop(number: int, _: FrameType | None) -> None:
        logging.getLogger("commitlog").info("%s: finishing", signal.Signals(number).name)
        stop.set()

    def on_reload(_: int, __: FrameType | None) -> None:
        reload.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_stop)
    signal.signal(signal.SIGHUP, on_reload)
    config = invocation.load()
    worker = Worker(config, stop=stop, reload=reload)
    telemetry = Telemetry(config.http.address, vitals=worker.vitals, name=config.log.location.name)
    worker.tracing = telemetry.tracing
    try:
        worker.run()
    finally:
        telemetry.close()
    return 0
