"""`commitlog setup`: make the source ready for a worker."""

from pathlib import Path

import click

from ...transforms.registry import Registry
from .. import provisioning
from ..schema_files import load_file, load_registry
from ..tail.catalog import Catalog
from .options import Invocation, pass_invocation, source_option
from .output import Output


@click.command()
@click.argument("files", metavar="[FILE]...", nargs=-1, type=click.Path(path_type=Path))
@source_option
@click.option("--dry-run", is_flag=True, help="Print the SQL and change nothing.")
@pass_invocation
def command(invocation: Invocation, files: tuple[Path, ...], dry_run: bool) -> int:
    """Create what the guarantees need on the source: whole old rows of mapped tables, the publication, the slot.

    What is there already stays as it is; run it again whenever an app schema maps a new table. FILE is an app schema that is
    not yet in the folder of [schemas]: make the source ready for it, then hand it to the worker by commitlog schema add.
    """
    config, output = invocation.load(), Output()
    registry = Registry([*load_registry(config.schemas.path).schemas, *(load_file(file) for file in files)])
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
