"""`commitlog resume`: go on after lost history, by an operator's order and never by itself."""

import click

from .options import Invocation, pass_invocation
from .output import Output


@click.command()
@click.option("--accept-gap", is_flag=True, help="Write into the log that history is missing, and go on behind it.")
@pass_invocation
def command(invocation: Invocation, accept_gap: bool) -> int:
    """Say why the log cannot go on; with --accept-gap, go on with a gap that everyone can see.

    Writes a gap record in a new epoch, makes a new slot where the old one cannot be used, and lets the next worker take a new
    snapshot of every table, so that forks and blame are right again from there on. Exit code 3 without --accept-gap when
    history is lost, 0 when nothing is.
    """
    # Loaded here only: a `--help` needs no driver.
    from ..worker.resume import resume

    output = Output()
    for line in resume(invocation.load(), accept_gap=accept_gap):
        output.line(line)
    return 0
