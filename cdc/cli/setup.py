"""`commitlog setup`: make the source ready for a worker."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...transforms.registry import Registry
from ..app_schemas.files import load_file, load_registry
from .options import Invocation, pass_invocation, source_option
from .output import Output, note

if TYPE_CHECKING:
    from ..source.step import Step


@click.command()
@click.argument("files", metavar="[FILE]...", nargs=-1, type=click.Path(path_type=Path))
@source_option
@click.option(
    "--dry-run",
    "--sql",
    "dry_run",
    is_flag=True,
    help="Print the SQL, or lines of mongosh, for a DBA to run, and change nothing.",
)
@click.option("--role", default="", help="Also give this role what the worker needs, and no more.")
@click.option(
    "--app-role",
    default="",
    help="Also let this role of the app tag its transactions. On PostgreSQL none needs to be let.",
)
@pass_invocation
def command(invocation: Invocation, files: tuple[Path, ...], dry_run: bool, role: str, app_role: str) -> int:
    """Create what the guarantees need on the source: whole old rows of mapped tables, the publication, the slot. Of MySQL and MariaDB:
    settings of the binary log, and the table of the stamp that carries tags. Of MongoDB: that the server keeps what documents of mapped
    collections were before a change, and the collection of the stamps.

    What is there already stays as it is; run it again whenever an app schema maps a new table. FILE is an app schema that is
    not yet in the folder of [schemas]: make the source ready for it, then hand it to the worker by commitlog schema add.

    Who runs it owns the tables, may create publications (CREATE on the database) and replicates. The worker needs less: LOGIN,
    REPLICATION, CONNECT on the database, USAGE on the schemas and SELECT on the mapped tables, BYPASSRLS where they have row security.
    Give it a role of its own by --role, and run this as another one:

    \b
      commitlog setup --source postgresql://DBA@HOST/DATABASE --role commitlog
      commitlog setup --sql --role commitlog | psql …

    On MySQL and MariaDB a role is NAME or NAME@HOST. The worker's gets REPLICATION SLAVE, REPLICATION CLIENT (MariaDB: BINLOG MONITOR)
    and SELECT on the mapped tables; the app's may insert into the stamp, and no more.

    On MongoDB a role is a user or a role, NAME or NAME@DATABASE that knows it (else admin); where there is neither, a role is made. The
    worker's may find in local.oplog.rs, local.system.replset, config.system.preimages, commitlog.stamps and the mapped collections, and
    list the collections of the database; the app's find, insert and update in commitlog.stamps. commitlog setup --sql | mongosh URL
    """
    # Loaded here only: a `--help` needs no driver.
    from ..source.engine import open_provision

    config, output = invocation.load(), Output()
    registry = Registry([*load_registry(config.schemas.path).schemas, *(load_file(file) for file in files)])
    source = open_provision(config)
    try:
        steps = source.setup_steps(registry)
        steps += source.grant_steps(registry, role) if role else []
        steps += source.app_steps(app_role) if app_role else []
        for step in steps:
            if dry_run:
                for line in _printed(step, source.comment).splitlines():
                    output.line(line)
            else:
                source.execute(step, say=note)
                output.line(f"done: {step.text}")
        if not dry_run:
            source.note_begin()
        for text in () if dry_run else source.missing_tables(registry):
            output.line(f"warning: {text}: nothing of it will be recorded")
    finally:
        source.close()
    if not steps:
        output.line("nothing to do: the source is ready")
    if not dry_run:
        output.line("next: commitlog run")
    return 0


def _printed(step: "Step", comment: str) -> str:
    """A step as psql, mysql or mongosh takes it, under a line that says what it is for."""
    if step.replication:
        return f"-- {step.text}; on a replication connection (psql 'replication=database …'):\n-- {step.statement};"
    return f"{comment} {step.text}\n{step.statement};"
