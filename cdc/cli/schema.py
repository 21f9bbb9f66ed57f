"""`commitlog schema`: app schemas, from a first draft to the log that holds them."""

from pathlib import Path
from typing import Any

import click

from ...schemas.errors import Locked, Refused, SchemaError, Unreachable, UsageError
from ...transforms.app_schema import AppSchema
from ...transforms.registry import Registry
from ..app_schemas import store as schema_store
from ..app_schemas.files import findings, load_file, load_registry
from ..config import Config
from ..config_template import log_name
from ..log.chain import ChainWriter
from ..log.home import log_exists, open_writer, submit
from ..log.state import LogState
from .commands import Group
from .log_view import open_index
from .options import Invocation, json_option, log_option, pass_invocation, source_option
from .output import Output, note, report


@click.group(cls=Group)
def command() -> None:
    """App schemas: what of a database appears in its log, for which builds of the app."""


@command.command("draft")
@click.option("--app", metavar="NAME", help="The app's name. Default: the database's.")
@source_option
@pass_invocation
def draft_(invocation: Invocation, app: str | None) -> None:
    """Print a first app schema of the database, likely personal columns marked.

    commitlog schema draft > schemas/shop.yaml, then read and correct it: the classes are guesses from the columns' names. Of a
    MongoDB, a few documents of each collection are looked at.
    """
    # Loaded here only: files and logs are read without a driver.
    from ..source.engine import draft_of

    source = invocation.load("source").source
    text = draft_of(source.conninfo(), app=app or log_name(source.shown))
    output = Output()
    for line in text.splitlines():
        output.line(line)


@command.command("check")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@source_option
@pass_invocation
def check(invocation: Invocation, files: tuple[Path, ...]) -> int:
    """Check files against the rules of app schemas and, where the database answers, against its tables.

    Each problem is an error on stderr with file and line; the exit code is then 4.
    """
    config = invocation.load("schemas")
    catalog = _described(config)
    output, wrong = Output(), 0
    for file in files:
        problems = findings(file, config.log.visibility, catalog, engine=_engine(config))
        for message, hint in problems:
            report(message, hint)
        if not problems:
            output.line(f"ok: {file}, schema {load_file(file).id[:12]}")
        wrong += bool(problems)
    return SchemaError.exit_code if wrong else 0


@command.command("add")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@log_option
@pass_invocation
def add(invocation: Invocation, file: Path) -> None:
    """Put an app schema into the log: it holds from the next transaction on.

    It must not claim what another file in the folder of [schemas] claims: take that out there first. It is kept in the
    folder. A running worker takes it in without a restart; without one, this command writes the record itself.
    """
    config = invocation.load()
    schema = load_file(file)
    Registry([*load_registry(config.schemas.path).schemas, schema])
    schema.check(config.log.visibility, _described(config), engine=_engine(config))
    try:
        seq = _append(config, schema)
    except Locked:
        seq = submit(config.log.location, schema_store.REQUEST, schema.data)["seq"]
    Output().line(f"schema {schema.id[:12]} is record {seq} of {config.log.location.name}")


@command.command("list")
@log_option
@json_option
@pass_invocation
def list_(invocation: Invocation, as_json: bool) -> None:
    """List the app schemas that the log holds, in the order they came.

    With --json each line is one: seq (of its record), id, and schema, the document as recorded; null where the record's
    body is withheld.
    """
    location = invocation.load("log").log.location
    documents: list[dict[str, Any]] = []
    with open_index(location) as index:
        for digest, seq in index.schemas():
            items = index.record(seq).items() if seq is not None else []
            documents.append({"seq": seq, "id": digest, "schema": items[2] if len(items) > 2 else None})
    output = Output(as_json=as_json)
    if as_json:
        for document in documents:
            output.document(document)
    else:
        output.table(("seq", "schema", "app", "database", "holds for", "entities"), [_row(d) for d in documents])


def _row(document: dict[str, Any]) -> list[object]:
    schema: dict[str, Any] = document["schema"] or {}
    builds: list[str] = schema.get("builds", [])
    holds = [*builds, "default"] if schema.get("default") else builds
    names: list[str] = list(schema.get("entities", ()))
    return [
        document["seq"],
        document["id"][:12],
        schema.get("app"),
        schema.get("database"),
        ", ".join(holds),
        ", ".join(names),
    ]


def _described(config: Config) -> dict[str, list[str]] | None:
    """The database's tables by quoted name, with their columns; None, and a note, where it does not answer."""
    if not config.source.url:
        note("not compared with a database: no source is configured")
        return None
    from ..source.engine import columns_of

    try:
        return columns_of(config.source.conninfo())
    except Unreachable as exc:
        note(f"not compared with the database: {exc}")
        return None


def _engine(config: Config) -> str:
    return config.source.engine if config.source.url else ""


def _append(config: Config, schema: AppSchema) -> int:
    """Write the record of a schema where no worker runs, and return its seq.

    Raises:
        Locked: A worker runs.
        UsageError: There is no log yet.
        Refused: The log ends within a commit.
    """
    location = config.log.location
    if not log_exists(location):
        raise UsageError(
            f"there is no log {location} yet", hint=f"put the file into {config.schemas.path}, then commitlog run"
        )
    with open_writer(location, memory=config.memory_path) as writer:
        if writer.last is None or writer.unfinished:
            raise Refused(f"log {location} ends within a commit", hint="start the worker first: commitlog run")
        header = writer.last.header
        chain = ChainWriter(
            header["log"],
            epoch=header["epoch"],
            engine=header["source"]["engine"],
            head=writer.head,
            position=header["source"]["position"],
        )
        with open_index(location) as index:
            state = LogState(schemas={digest: seq for digest, seq in index.schemas() if seq is not None})
        schema_store.keep(schema, config)
        seq = schema_store.add(schema, config, state=state, chain=chain, append=writer.append)
        writer.flush()
    return seq
