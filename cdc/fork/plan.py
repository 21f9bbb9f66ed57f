"""What a fork is going to be, before anything is written: read from the log and from the target's catalogs."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final

from ...schemas.errors import RecordError, Refused, UsageError
from ...schemas.record import Head, Record, is_object
from ...schemas.shape import Shape
from ...transforms.table_name import TableName, quote
from ..log import canonical
from ..log.home import LogReader
from . import state
from .model import check_tables, fold
from .state import Upstream
from .store import Store
from .table_plan import TablePlan
from .tabular import suited
from .units import Unit, items_of

DOCUMENTS: Final = "mongodb"
"""The engine whose rows are documents."""

Schema = tuple[str, bytes]
"""An app schema's id, and the schema as records hold it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A fork to be made.

    Args:
        upstream: The log.
        head: The log's head when it was read.
        shapes: The shapes of the entities that the fork will have.
        tables: Their tables.
        skipped: Entities of the log that the fork leaves out.
        memory: What the tables are called in which the fork remembers.
        notes: What the owner should know of all tables together.
        schemas: The app schemas of a source with documents.
        shown: Tells what a table of the source is called in the fork.
    """

    upstream: Upstream
    head: Head
    shapes: tuple[Shape, ...]
    tables: tuple[TablePlan, ...]
    skipped: tuple[str, ...]
    memory: str
    notes: tuple[str, ...]
    schemas: tuple["Schema", ...]
    shown: Callable[[TableName], str]

    def lines(self) -> Iterator[str]:
        """The plan for eyes, one line at a time."""
        yield f"log {self.upstream.name}, {self.head.seq + 1} records"
        yield f"make {self.memory}: the position, the conflicts, what the fork made"
        for table in self.tables:
            yield from _table_lines(table, self.shown(table.model.table))
        yield from self.notes
        if self.skipped:
            yield f"leave out {', '.join(self.skipped)}"
        if not self.tables:
            yield "no table yet: the log has told of none"
        yield "columns that the log does not publish are not made, nor are indexes, constraints and triggers"
        yield "tables of entities that the log tells of later are made when it does"


def _table_lines(plan: TablePlan, name: str) -> Iterator[str]:
    model = plan.model
    verb = "take the empty table" if plan.adopted else "make table"
    yield f"{verb} {name} for {model.entity}, key {', '.join(map(quote, model.key))}"
    for column in model.columns:
        choice, band = plan.types[column.field], plan.bands.get(column.field)
        notes = [choice.note] if choice.note else []
        if choice.labels and not plan.adopted:
            notes.append(f"an enum of {len(choice.labels)} labels")
        if column.generated:
            notes.append("computed upstream, a plain value here")
        if column.collation:
            notes.append(f"without the collation {column.collation}")
        if band is not None:
            notes.append(f"numbers given out here start at {band}")
        elif column.identity:
            notes.append("no numbers are given out here")
        yield f"    {quote(column.field)} {choice.shown}" + (f": {'; '.join(notes)}" if notes else "")


def make_plan(reader: LogReader, target: Store, *, only: Collection[str] = ()) -> Plan:
    """Read the log and the target's catalogs.

    Args:
        reader: The log.
        target: Where the fork is to live; nothing is written.
        only: The entities to fork; empty for all.

    Raises:
        UsageError: The log is empty, or knows no entity of a name in `only`.
        Refused: The target is the source itself, or cannot take a table.
        CommitLogError: The log is damaged, or cannot be read.
    """
    head = reader.head()
    genesis = read_genesis(reader)
    units = list(_told_records(reader, head))
    shapes = [shape for unit in units if unit.kind == "shape" for shape in shapes_of(unit)]
    schemas = [schema_of(unit) for unit in units if unit.kind == "schema" and genesis["engine"] == DOCUMENTS]
    known = {shape.entity for shape in shapes}
    missing = sorted(set(only) - known)
    if missing:
        raise UsageError(
            f"log {reader.location} knows no entity {missing[0]}",
            hint=f"it knows {', '.join(sorted(known)) or 'none yet'}",
        )
    wanted = frozenset(only)
    models = fold(shapes, wanted, engine=genesis["engine"], schemas=[data for _, data in schemas])
    check_target(target, genesis)
    target = suited(target, genesis["engine"])
    check_tables(models, target.shown)
    tables = tuple(target.plan_table(model) for model in models.values())
    return Plan(
        Upstream(genesis["log"], str(genesis["name"]), str(reader.location), wanted),
        head,
        tuple(shape for shape in shapes if shape.entity in models),
        tables,
        tuple(sorted(known - models.keys())),
        target.memory.shown,
        tuple(target.notes(tables)),
        tuple(schemas),
        target.shown,
    )


def read_genesis(reader: LogReader) -> dict[str, Any]:
    """What the log's first record says of its source, under `log` the log's id, and under `engine` the source's engine.

    Raises:
        UsageError: The log has no record.
    """
    if reader.head().seq < 0:
        raise UsageError(f"log {reader.location} is empty", hint="start its worker: commitlog run")
    record = reader.record(0)
    items = items_of(record)
    if record.kind != "genesis" or len(items) < 3 or not is_object(items[2]):
        raise RecordError("record 0 is not a genesis", seq=0)
    return {"name": reader.location.name, **items[2], "log": record.header["log"], "engine": source_engine(record)}


def source_engine(record: Record) -> str:
    """Which engine the source of a log is."""
    source = record.header.get("source")
    return str(source.get("engine", "postgresql")) if is_object(source) else "postgresql"


def check_target(target: Store, genesis: dict[str, Any]) -> None:
    """Refuse a target that is the source.

    Of a MariaDB nobody can say: many have one server_id. There a table with rows is refused, as everywhere.

    Raises:
        Refused: It is, or it is a database no fork can live in.
    """
    system, database = target.database()
    server = next((genesis[name] for name in ("server", "system", "replica_set") if name in genesis), None)
    source = (server, genesis.get("database"))
    if system and genesis["engine"] != "mariadb" and (system, database) == source:
        raise Refused(
            f"database {database} is the source of this log itself",
            hint="give the fork a database of its own",
        )


def shapes_of(unit: Unit) -> list[Shape]:
    """The shapes that a shape record holds.

    Raises:
        RecordError: They are not those that its header names.
    """
    shapes = [Shape.parse(canonical.dump(item)) for item in (unit.items or [])[2:]]
    if [shape.id for shape in shapes] != unit.last.header.get("shapes", []):
        raise RecordError(f"record {unit.last.seq}: its shapes are not those its header names", seq=unit.last.seq)
    return shapes


def schema_of(unit: Unit) -> Schema:
    """The app schema that a schema record holds."""
    return str(unit.last.header.get("schema")), canonical.dump((unit.items or [])[2])


def _told_records(reader: LogReader, head: Head) -> Iterator[Unit]:
    for record in reader.records(until=head.seq):
        if record.kind in ("shape", "schema"):
            yield Unit(record, record.seq, Head(record.seq - 1, record.header["prev"]), None, items_of(record))


def is_fork_of(target: Store, reader: LogReader, only: Collection[str]) -> bool:
    """Whether the target holds a fork already, of this log.

    Raises:
        Refused: It is the fork of another log.
        UsageError: It has other entities than `only` says.
    """
    if not state.exists(target.memory):
        return False
    upstream = target.memory.applied().upstream
    log = read_genesis(reader)["log"]
    if upstream.log != log:
        raise Refused(
            f"the database holds a fork of log {upstream.name} ({upstream.log}), not of {reader.location} ({log})",
            hint="give this fork a database of its own, or commitlog fork drop",
        )
    if only and frozenset(only) != upstream.only:
        has = ", ".join(sorted(upstream.only)) or "all entities"
        raise UsageError(f"the fork has {has}", hint="leave --only out, or commitlog fork drop and fork anew")
    return True
