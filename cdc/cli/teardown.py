"""`commitlog teardown`: take back what `setup` made on the source."""

import click

from .options import Invocation, ask, pass_invocation, source_option
from .output import Output, note


@click.command()
@source_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_invocation
def command(invocation: Invocation, yes: bool) -> int:
    """Drop the slot and the publication, so that the source keeps no WAL for us any more. The log stays.

    A later setup begins a new slot: what is committed in between will be missing from the log. Of MySQL and MariaDB it drops the table
    of the stamp, of MongoDB the collection of the stamps: transactions are then untagged.
    """
    # Loaded here only: a `--help` needs no driver.
    from ..source.engine import open_provision

    config, output = invocation.load(), Output()
    source = open_provision(config)
    try:
        steps = source.teardown_steps()
        if not steps:
            output.line(f"nothing to do: {source.nothing}")
            return 0
        ask(f"drop {' and '.join(step.text for step in steps)} on {config.source.shown}?", yes=yes)
        for step in steps:
            source.execute(step, say=note)
            output.line(f"dropped: {step.text}")
        # A log that has not begun begins where the next setup is done.
        config.begin_path.unlink(missing_ok=True)
    finally:
        source.close()
    output.line(source.leftover)
    return 0
