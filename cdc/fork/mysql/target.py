"""MySQL or MariaDB as the database a fork lives in."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from ....drivers.mysql_stamp import LOGGED, PROBES, Form, stamp
from ....schemas.errors import Refused
from ....transforms.table_name import TableName
from ..batch import Op, Step
from ..merge import Value
from ..model import EntityModel
from ..store import Texts
from ..table_plan import Evolution, TablePlan
from . import column_types, evolution, tables
from .connection import Connected, quoted_text
from .memory import MysqlMemory
from .tables import Table


class Target(Connected):
    """A fork's MySQL or MariaDB: the store of its contract.

    Args:
        url: `mysql://…` or `mariadb://…`, with a database.

    Raises:
        UsageError: The URL is none, or names no database.
        Unreachable: It does not answer.
        Refused: It does not prove who it is, or is of the other flavour.
    """

    parts = None
    ddl_in_transaction = False

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.memory = MysqlMemory(self, self.collation)
        self.engine = "MariaDB" if self.flavour == "mariadb" else "MySQL"
        self._tables: dict[str, Table] = {}
        self._stamp: Form | None = None

    def shown(self, table: TableName) -> str:
        """A table has its name at the source, without its schema."""
        return tables.name_of(table)

    def plan_table(self, model: EntityModel) -> TablePlan:
        """See what a table needs."""
        return tables.plan_table(self, model)

    def plan_evolution(self, old: EntityModel, new: EntityModel) -> Evolution:
        """See what a further shape needs."""
        return evolution.plan_evolution(self, old, new)

    def make_tables(self, plans: Sequence[TablePlan]) -> None:
        """Make what tables need."""
        tables.make(self, plans)

    def evolve(self, change: Evolution) -> None:
        """Change a table for a further shape."""
        evolution.evolve(self, change)

    def drop_tables(self) -> list[str]:
        """Drop what the fork made."""
        tables.drop(self)
        return []

    def load(self, models: Mapping[str, EntityModel]) -> None:
        """Take over the tables as they are now."""
        self._tables = tables.load(self, models)
        self._stamp = self._stamp_form()

    def mark(self, tags: Sequence[str]) -> None:
        """Write tags where drivers stamp theirs; without such a place the position's own row tells a tail."""
        if self._stamp is not None:
            # Where a connection has one row for its tags, that of the last stays.
            tags = tags if self._stamp is LOGGED else tags[-1:]
            self.run_all(stamp(self._stamp, tag.encode()).decode() for tag in tags)

    def check_at_once(self) -> None:
        """Every constraint is checked at each statement anyway."""

    def run(self, steps: Sequence[Step]) -> list[Op] | None:
        """Apply changes: as many statements in one round trip as fit in a packet."""
        differing: list[Op] = []
        waiting: list[tuple[str, int]] = []
        for step in steps:
            entity, kind, before, after = step.signature
            table = self._tables[entity]
            if kind in ("insert", "row"):
                ops = step.ops
                if kind == "row":
                    if not self._counted(waiting):
                        return None
                    waiting.clear()
                    ops = self._absent(table, step, differing)
                waiting += self._inserts(table, after, [change["after"] for change, _ in ops])
            else:
                for change, _ in step.ops:
                    where = self._where(table, change["key"]) + self._unchanged(table, change, before)
                    waiting.append((self._change(table, kind, change, where), 1))
        return differing if self._counted(waiting) else None

    def _counted(self, statements: Sequence[tuple[str, int]]) -> bool:
        """Run statements; whether each found as many rows as it should."""
        return self.run_all(text for text, _ in statements) == [count for _, count in statements]

    def _inserts(
        self, table: Table, fields: Sequence[str], rows: Sequence[Mapping[str, Any]]
    ) -> Iterator[tuple[str, int]]:
        """Statements of many rows each, with how many."""
        if not rows:
            return
        forms = [table.forms[field] for field in fields]
        head = f"INSERT INTO {table.name} ({', '.join(form.name for form in forms)}) VALUES "  # noqa: S608 - quoted
        waiting, size = list[str](), 0
        for row in rows:
            text = (
                f"({', '.join(form.literal(form.text(row[field])) for field, form in zip(fields, forms, strict=True))})"
            )
            if waiting and size + len(text) > _STATEMENT_CHARACTERS:
                yield head + ", ".join(waiting), len(waiting)
                waiting, size = [], 0
            waiting.append(text)
            size += len(text)
        yield head + ", ".join(waiting), len(waiting)

    def _absent(self, table: Table, step: Step, differing: list[Op]) -> list[Op]:
        """The changes of rows that are not there; of those that are there and differ add the changes to `differing`."""
        keys = {self._key(table, change["key"]): (change, origin) for change, origin in step.ops}
        found = " OR ".join(f"({self._where(table, change['key'])})" for change, _ in step.ops)
        if len(table.model.key) == 1:
            form = table.forms[table.model.key[0]]
            found = f"{form.compared} IN ({', '.join(form.literal(key) for (key,) in keys)})"
        forms = [table.forms[field] for field in (*table.model.key, *step.signature[3])]
        rows = self.ask(
            f"SELECT {', '.join(form.selected for form in forms)} FROM {table.name} WHERE {found} FOR UPDATE"  # noqa: S608
        )
        width = len(table.model.key)
        for row in rows:
            texts = [form.read(text) for form, text in zip(forms, row, strict=True)]
            op = keys.pop(tuple(texts[:width]))
            after = op[0]["after"]
            if texts[width:] != [table.forms[field].text(after[field]) for field in step.signature[3]]:
                differing.append(op)
        return list(keys.values())

    def read(self, entity: str, key: Mapping[str, Any]) -> Texts | None:
        """The row of a key, locked against writers."""
        table = self._tables[entity]
        selected = ", ".join(form.selected for form in table.forms.values())
        rows = self.ask(f"SELECT {selected} FROM {table.name} WHERE {self._where(table, key)} FOR UPDATE")  # noqa: S608
        if not rows:
            return None
        return {field: form.read(text) for (field, form), text in zip(table.forms.items(), rows[0], strict=True)}

    def cast(self, entity: str, values: Mapping[str, Any]) -> Texts:
        """Values of a record as the server gives them back."""
        forms = self._tables[entity].forms
        return {field: forms[field].text(value) for field, value in values.items()}

    def cast_all(self, entity: str, rows: Sequence[Mapping[str, Any]]) -> list[Texts]:
        """As `cast`, of many rows."""
        return [self.cast(entity, row) for row in rows]

    def scan(self, entity: str) -> Iterator[Texts]:
        """All rows, as `read` gives them."""
        table = self._tables[entity]
        selected = ", ".join(form.selected for form in table.forms.values())
        for row in self.stream(f"SELECT {selected} FROM {table.name}"):  # noqa: S608 - quoted
            yield {field: form.read(text) for (field, form), text in zip(table.forms.items(), row, strict=True)}

    def insert(self, entity: str, after: Mapping[str, Any]) -> None:
        """Write a new row."""
        self.run_all(text for text, _ in self._inserts(self._tables[entity], tuple(after), [after]))

    def update(self, entity: str, key: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        """Set fields of the row of a key."""
        table = self._tables[entity]
        self.run_all([self._change(table, "update", {"after": after}, self._where(table, key))])

    def delete(self, entity: str, key: Mapping[str, Any]) -> None:
        """Delete the row of a key."""
        table = self._tables[entity]
        self.run_all([self._change(table, "delete", {}, self._where(table, key))])

    def value(self, entity: str, field: str, text: Value) -> object:
        """What a record would hold for a value of the fork."""
        return self._tables[entity].forms[field].shown_value(text)

    def holds_more(self, entity: str, keys: Sequence[Mapping[str, Any]]) -> bool:
        """Whether other tables refer to rows of this one, or it has columns of its owner's."""
        model = self._tables[entity].model
        if not tables.columns(self, tables.name_of(model.table)).keys() <= model.by_field.keys():
            return True
        return bool(
            self.ask(
                "SELECT 1 FROM information_schema.KEY_COLUMN_USAGE WHERE REFERENCED_TABLE_SCHEMA = DATABASE()"  # noqa: S608
                f" AND REFERENCED_TABLE_NAME = {quoted_text(tables.name_of(model.table))} LIMIT 1"
            )
        )

    def notes(self, plans: Sequence[TablePlan]) -> list[str]:
        """What the owner should know of all tables together."""
        return column_types.notes([choice for plan in plans for choice in plan.types.values()], self.collation)

    @staticmethod
    def _key(table: Table, key: Mapping[str, Any]) -> tuple[Value, ...]:
        return tuple(table.forms[field].text(key[field]) for field in table.model.key)

    @staticmethod
    def _where(table: Table, key: Mapping[str, Any]) -> str:
        return " AND ".join(table.forms[f].is_like(table.forms[f].text(key[f])) for f in table.model.key)

    @staticmethod
    def _unchanged(table: Table, change: Mapping[str, Any], before: Sequence[str]) -> str:
        """The further conditions that the fields of `before` still hold."""
        conditions = ""
        for field in before:
            form = table.forms[field]
            conditions += f" AND {form.is_like(form.text(change['before'][field]))}"
        return conditions

    @staticmethod
    def _change(table: Table, kind: str, change: Mapping[str, Any], where: str) -> str:
        if kind == "delete":
            return f"DELETE FROM {table.name} WHERE {where}"  # noqa: S608 - quoted
        after = change["after"]
        assignments = (
            f"{table.forms[f].name} = {table.forms[f].literal(table.forms[f].text(after[f]))}" for f in after
        )
        return f"UPDATE {table.name} SET {', '.join(assignments)} WHERE {where}"  # noqa: S608 - quoted

    def _stamp_form(self) -> Form | None:
        """How a transaction is stamped; None where `commitlog setup` made no place for it, or this user may not write there."""
        for form, probe in PROBES:
            try:
                self.ask(probe.decode())
            except Refused:
                continue
            return form
        return None


_STATEMENT_CHARACTERS: Final = 1 << 20
"""Of one INSERT: large enough that a longer one is not faster."""
