"""PostgreSQL as the database a fork lives in."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, LiteralString

import orjson
import psycopg
from psycopg import sql

from ....drivers.tag import PREFIX
from ....schemas.errors import Refused
from ....transforms.table_name import TableName, quoted
from ...tail.pgtypes import converter
from ..batch import Fields, Op, Signature, Step
from ..merge import Value
from ..model import EntityModel
from ..store import Rejected, Texts
from ..table_plan import Evolution, TablePlan
from . import statements, tables
from .connection import Connected, translated
from .memory import PostgresMemory
from .statements import Table

_FETCH_ROWS: Final = 5000
_JSONB_MAX: Final = 64 << 20
"""Parameters up to so many characters are read as jsonb, whose strings and lists have a limit of 256 MB."""

_PARAMETER_MAX: Final = 1_000_000_000
"""The server takes no message above 1 GiB."""

_MARK: Final[LiteralString] = "SELECT count(pg_logical_emit_message(true, %s, tag)) FROM unnest(%s::text[]) AS tag"


class Target(Connected):
    """A fork's PostgreSQL: the store of its contract.

    Args:
        url: A libpq URL.

    Raises:
        Unreachable: It does not answer.
        Refused: It is not one a fork can live in, or does not prove who it is.
    """

    engine = "PostgreSQL"
    parts = None
    ddl_in_transaction = True

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.memory = PostgresMemory(self)
        self._tables: dict[str, Table] = {}
        self._made: dict[tuple[Signature, bool], tuple[bytes, bytes | None]] = {}

    def shown(self, table: TableName) -> str:
        """A table has the name that it has at the source."""
        return quoted(table)

    def plan_table(self, model: EntityModel) -> TablePlan:
        """See what a table needs."""
        return tables.plan_table(self, model)

    def plan_evolution(self, old: EntityModel, new: EntityModel) -> Evolution:
        """See what a further shape needs."""
        return tables.plan_evolution(self, old, new)

    def make_tables(self, plans: Sequence[TablePlan]) -> None:
        """Make what tables need."""
        tables.make(self, plans)

    def evolve(self, change: Evolution) -> None:
        """Change a table for a further shape."""
        tables.evolve(self, change)

    def drop_tables(self) -> list[str]:
        """Drop what the fork made."""
        return tables.drop(self)

    def load(self, models: Mapping[str, EntityModel]) -> None:
        """Take over the tables as they are now."""
        self._tables = tables.load(self, models)
        self._made.clear()

    def notes(self, plans: Sequence[TablePlan]) -> list[str]:
        """There is nothing beyond what the columns say."""
        return []

    def mark(self, tags: Sequence[str]) -> None:
        """Write tags as messages of the replication log."""
        self.rows(_MARK, (PREFIX, list(tags)))

    def check_at_once(self) -> None:
        """Check deferred constraints at each statement."""
        self.execute("SET CONSTRAINTS ALL IMMEDIATE")

    def run(self, steps: Sequence[Step]) -> list[Op] | None:
        """Apply changes: all statements in one round trip.

        Raises:
            Rejected: They are too large for one statement, as well.
        """
        checks: list[tuple[Step, psycopg.Cursor[Any]]] = []
        counts: list[tuple[Step, psycopg.Cursor[Any]]] = []
        with translated(), self.connection.pipeline():
            for step in steps:
                parameter = orjson.dumps([change for change, _ in step.ops]).decode()
                if len(parameter) > _PARAMETER_MAX:
                    raise Rejected("value", "they are too large for one statement")
                query, check = self._statements(step.signature, large=len(parameter) > _JSONB_MAX)
                if check is not None:
                    checks.append((step, self.prepared(check, parameter)))
                cursor = self.prepared(query, parameter)
                if check is None:
                    counts.append((step, cursor))
        if any(cursor.rowcount != len(step.ops) for step, cursor in counts):
            return None
        return [step.ops[row[0] - 1] for step, cursor in checks for row in cursor.fetchall()]

    def read(self, entity: str, key: Mapping[str, Any]) -> Texts | None:
        """The row of a key, locked against writers."""
        table = self._tables[entity]
        rows = self._ask(statements.read, table, {"key": key}).fetchall()
        return dict(zip((c.field for c in table.model.columns), rows[0], strict=True)) if rows else None

    def cast(self, entity: str, values: Mapping[str, Any]) -> Texts:
        """Values of a record as the server writes them after a cast to its types."""
        fields = tuple(values)
        rows = self._ask(statements.cast_values, self._tables[entity], {"after": values}, fields).fetchall()
        return dict(zip(fields, rows[0], strict=True))

    def cast_all(self, entity: str, rows: Sequence[Mapping[str, Any]]) -> list[Texts]:
        """As `cast`, of many rows with the same fields."""
        fields = tuple(rows[0])
        query = statements.cast_values(self._tables[entity], fields)
        found = self.prepared(query, orjson.dumps([{"after": row} for row in rows]).decode()).fetchall()
        return [dict(zip(fields, row, strict=True)) for row in found]

    def scan(self, entity: str) -> Iterator[Texts]:
        """All rows, as `read` gives them."""
        table = self._tables[entity]
        with self.transaction(), self.connection.cursor("scan") as cursor:
            cursor.itersize = _FETCH_ROWS
            for row in cursor.execute(statements.scan(table)):
                yield dict(zip((c.field for c in table.model.columns), row, strict=True))

    def insert(self, entity: str, after: Mapping[str, Any]) -> None:
        """Write a new row."""
        self._ask(statements.insert, self._tables[entity], {"after": after}, tuple(after))

    def update(self, entity: str, key: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        """Set fields of the row of a key."""
        self._ask(statements.update, self._tables[entity], {"key": key, "after": after}, (), tuple(after))

    def delete(self, entity: str, key: Mapping[str, Any]) -> None:
        """Delete the row of a key."""
        self._ask(statements.delete, self._tables[entity], {"key": key}, ())

    def value(self, entity: str, field: str, text: Value) -> object:
        """What a record would hold for a value of the fork."""
        column = self._tables[entity].model.by_field[field]
        if text is None:
            return None
        if column.type == "bool":
            return text == "true"
        try:
            return converter(column.type)(text.encode())
        except ValueError:
            # The owner of the fork has given the column another type.
            return text

    def holds_more(self, entity: str, keys: Sequence[Mapping[str, Any]]) -> bool:
        """Whether other tables refer to rows of this one, or it has columns of its owner's."""
        model = self._tables[entity].model
        if not self.column_types(*model.table).keys() <= model.by_field.keys():
            return True
        query = sql.SQL("SELECT EXISTS (SELECT FROM pg_constraint WHERE contype = 'f' AND confrelid = {}::regclass)")
        name = self._tables[entity].name.as_string(self.connection)
        return bool(self.rows(query.format(sql.Literal(name)))[0][0])

    def _ask(
        self, make: Callable[..., sql.Composed], table: Table, change: Mapping[str, Any], *fields: Fields
    ) -> "psycopg.RawCursor[tuple[Any, ...]]":
        """Run a statement of `statements` on one change."""
        parameter = orjson.dumps([change]).decode()
        if len(parameter) > _PARAMETER_MAX:
            raise Refused(
                f"a row of {table.model.entity} is too large for the fork's database: {len(parameter)} characters as JSON",
                hint="fork without that entity: commitlog fork --only",
            )
        return self.prepared(make(table.of_any_size if len(parameter) > _JSONB_MAX else table, *fields), parameter)

    def _statements(self, signature: Signature, *, large: bool) -> tuple[bytes, bytes | None]:
        """(what must change as many rows as there are changes; for rows of a snapshot what finds those that differ)."""
        if (signature, large) not in self._made:
            table = self._tables[signature[0]]
            self._made[signature, large] = self._make(signature, table.of_any_size if large else table)
        return self._made[signature, large]

    def _make(self, signature: Signature, table: Table) -> tuple[bytes, bytes | None]:
        (_, kind, before, after), connection = signature, self.connection
        match kind:
            case "insert":
                return statements.insert(table, after).as_bytes(connection), None
            case "row":
                check = statements.differing(table, after).as_bytes(connection)
                return statements.insert_absent(table, after).as_bytes(connection), check
            case "update":
                return statements.update(table, before, after).as_bytes(connection), None
            case _:
                return statements.delete(table, before).as_bytes(connection), None
