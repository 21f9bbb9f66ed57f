"""`commitlog run`: the worker as a process, its signals and its lines on stderr."""

import logging
import signal

import click

from ...schemas.errors import CommitLogError
from ..telemetry.logging_setup import configure_logging
from .options import Invocation, log_option, pass_invocation, source_option

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
    # Nothing is read yet that could be read again.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # Loaded here only: a `--help` need not wait for all that a worker needs.
    from .worker_process import work

    try:
        work(invocation.load())
    except CommitLogError as exc:
        if log_format == "text":
            raise
        log.error("%s", exc, extra={"fields": {"hint": exc.hint, "exit_code": exc.exit_code}})
        return exc.exit_code
    return 0
