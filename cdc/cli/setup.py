"""`commitlog setup`: make the source ready for a worker."""

import click

from .. import provisioning
from ..schema_files import load_registry
from ..tail.catalog import Catalog
from .options import Invocation, pass_invocation, source_option
from .output import Output


@click.command()
@source_option
@click.option("--dry-run", is_flag=True, help="Print the SQL and change nothing.")
@pass_invocation
def command(invocation: Invocation, dry_run: bool) -> int:
    """Create what the guarantees need on the source: whole old rows of mapped tables, the publication, the slot.

    What is there already stays as it is; run it again whenever an app schema maps a new table.
    """
    config, output = invocation.load(), Output()
    registry = load_registry(config.schemas.path)
    catalog = Catalog(config.source.conninfo())
    try:
        steps = provisioning.setup_steps(catalog, config.source, registry)
        for step in steps:
            if dry_run:
                output.line(f"{step.statement};")
            else:
                provisioning.execute(catalog, step)
                output.line(f"done: {step.text}")
    finally:
        catalog.close()
    if not steps:
        output.line("nothing to do: the source is ready")
    if not dry_run:
        output.line("next: commitlog run")
    return 0
