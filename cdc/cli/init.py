"""`commitlog init`: a configuration for a database, and a first app schema for its tables."""

from pathlib import Path

import click

from ...schemas.errors import Unreachable
from .. import config as configuration
from ..config_template import DEFAULT_LOG, log_name, write_default
from .options import Invocation, pass_invocation
from .output import Output, note


@click.command()
@click.argument("url")
@click.option("--name", default="", help="The log's name. Default: the database's.")
@click.option("--app", default="", help="The app's name in the schema. Default: the log's name.")
@click.option(
    "--log",
    metavar="URL",
    default=DEFAULT_LOG,
    show_default=True,
    help="Where the log is to be: file:FOLDER, or kafka://HOST[,HOST]/PREFIX.",
)
@click.option(
    "--visibility", type=click.Choice(["own", "shared"]), default="own", help="For whom the log is. Default: own."
)
@pass_invocation
def command(
    invocation: Invocation, url: str, *, name: str, app: str, log: str, visibility: configuration.Visibility
) -> int:
    """Write commitlog.toml for the database at URL (postgresql://USER@HOST/DATABASE, mysql://…, mariadb://… or mongodb://…), and a
    draft of its app schema.

    Nothing is changed on the source. A password in URL goes to a file of its own that only you can read.
    """
    output = Output()
    name = name or log_name(url)
    written = write_default(Path.cwd(), url, name=name, log=log, visibility=visibility)
    config = invocation.load()
    schema = config.schemas.path / f"{name}.yaml"
    try:
        if not schema.exists():
            text = _draft(config, app or name)
            schema.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            schema.write_text(text, encoding="utf-8")
            written.append(schema)
    except Unreachable as exc:
        note(f"no app schema drafted: {exc}. Later: commitlog schema draft > {_shown(schema)}")
    except ImportError:
        # So that the same command may be given again when the driver is there.
        for path in written:
            path.unlink(missing_ok=True)
        raise
    for path in written:
        output.line(f"wrote {_shown(path)}")
    output.line(f"next: read {_shown(schema)}, then commitlog doctor, commitlog setup, commitlog run")
    return 0


def _draft(config: configuration.Config, app: str) -> str:
    # Loaded here only: a `--help` needs no driver.
    from ..source.engine import draft_of

    return draft_of(config.source.conninfo(), app=app)


def _shown(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
