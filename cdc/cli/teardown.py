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

    A later setup begins a new slot: what is committed in between will be missing from the log.
    """
    # Loaded here only: a `--help` needs no driver.
    from ..source import provisioning
    from ..tail.catalog import Catalog

    config, output = invocation.load(), Output()
    catalog = Catalog(config.source.conninfo())
    try:
        steps = provisioning.teardown_steps(catalog, config.source)
        if not steps:
            output.line("nothing to do: neither slot nor publication is there")
            return 0
        ask(f"drop {' and '.join(step.text for step in steps)} on {config.source.shown}?", yes=yes)
        for step in steps:
            provisioning.execute(catalog, step, say=note)
            output.line(f"dropped: {step.text}")
    finally:
        catalog.close()
    output.line("the tables keep REPLICA IDENTITY FULL; set it back with ALTER TABLE … REPLICA IDENTITY DEFAULT")
    return 0
