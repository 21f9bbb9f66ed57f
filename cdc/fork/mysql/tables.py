"""The tables of a fork in MySQL or MariaDB: which are needed, which are there, and the statements that make, change and drop them.

Every statement that makes or changes a table is committed by itself. So each is such that the same step, begun again after it,
changes nothing: what is there is looked at anew. A table that the fork made says so in its comment, and only such are ever dropped.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from ....schemas.errors import Refused
from ....schemas.shape import Column
from ....transforms.table_name import TableName
from ...failpoint import failpoint
from ...tail.mysql_catalog import sql_name
from ...tail.mysql_types import engine_type
from ..model import EntityModel, without
from ..store import PUT_BACK
from ..table_plan import TablePlan, TypeChoice
from .column_types import BAND, choose
from .connection import Connected, quoted_text
from .forms import Form, form

NAME_MAX: Final = 64

_MARK = "commitlog fork of "
"""What the comment of a table begins with that the fork made; the entity follows."""


@dataclass(frozen=True, slots=True)
class ActualColumn:
    """A column as it is.

    Args:
        type: As information_schema has it.
        collation: Empty for none.
        nullable: Whether it may be null.
        numbered: Whether the server gives out numbers for it.
    """

    type: str
    collation: str
    nullable: bool
    numbered: bool


@dataclass(frozen=True, slots=True)
class Table:
    """An entity's table as it is in the target.

    Args:
        model: What the shapes say.
        name: The table in SQL text.
        forms: Field to how its values are written and read.
    """

    model: EntityModel
    name: str
    forms: Mapping[str, Form]


def name_of(table: TableName) -> str:
    """What a table of the source is called: without its schema, as a fork has one database."""
    return table[1]


def columns(target: Connected, name: str) -> dict[str, ActualColumn]:
    """Column to what it is; empty where there is no such table."""
    rows = target.ask(
        "SELECT COLUMN_NAME, COLUMN_TYPE, COALESCE(COLLATION_NAME, ''), IS_NULLABLE, EXTRA FROM information_schema.COLUMNS"  # noqa: S608
        f" WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = {quoted_text(name)} ORDER BY ORDINAL_POSITION"
    )
    return {row[0]: ActualColumn(row[1], row[2], row[3] == "YES", "auto_increment" in row[4].lower()) for row in rows}


def made_for(target: Connected, name: str) -> str | None:
    """The entity that the fork made a table for; None where it made none of that name."""
    rows = target.ask(
        "SELECT TABLE_COMMENT FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()"  # noqa: S608 - quoted
        f" AND TABLE_NAME = {quoted_text(name)}"
    )
    comment = rows[0][0] if rows else ""
    return comment.removeprefix(_MARK) if comment.startswith(_MARK) else None


def plan_table(target: Connected, model: EntityModel) -> TablePlan:
    """See what a table needs.

    Raises:
        Refused: A table of that name is there, and the fork cannot take it; or MySQL cannot have such a table.
    """
    check_names(model)
    types, name = choose(model), name_of(model.table)
    actual = columns(target, name)
    # Made for a fork that was begun and did not get to its first position: it is made anew.
    begun = bool(actual) and made_for(target, name) == _short(model.entity)
    if actual:
        _check_empty(target, name)
    if actual and not begun:
        _check_adoption(target, model, types, actual)
    adopted = bool(actual) and not begun
    bands = {} if adopted else _bands(model, types)
    return TablePlan(model, types, adopted, bands)


def check_names(model: EntityModel) -> None:
    """Refuse names that MySQL cannot have.

    Raises:
        Refused: There is one.
    """
    names = [column.field for column in model.columns]
    for name in (name_of(model.table), *names):
        if not 0 < len(name) <= NAME_MAX or "\0" in name or name.endswith(" ") or any(ord(c) > 0xFFFF for c in name):
            raise Refused(f"{model.entity}: {name[:64]!r} cannot be a name in MySQL", hint=without(model.entity))
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            raise Refused(
                f"{model.entity} has columns {other} and {name}, which are one name in MySQL",
                hint=without(model.entity),
            )
    if name_of(model.table).startswith("_commitlog_"):
        raise Refused(
            f"{model.entity}: the fork's own tables are called {name_of(model.table)}", hint=without(model.entity)
        )


def _bands(model: EntityModel, types: Mapping[str, TypeChoice]) -> dict[str, int]:
    """A server gives out numbers for one column of a table, which must be the first of an index: here of the key."""
    column = model.by_field[model.key[0]]
    band = BAND.get(types[column.field].shown)
    return {column.field: band} if band and column.identity and column.field not in model.partial else {}


def _check_empty(target: Connected, name: str) -> None:
    if target.ask(f"SELECT 1 FROM {sql_name(name)} LIMIT 1"):  # noqa: S608 - quoted
        raise Refused(
            f"table {name} is there already and holds rows that the fork did not make",
            hint="fork into a database of its own",
        )


def _check_adoption(
    target: Connected, model: EntityModel, types: Mapping[str, TypeChoice], actual: Mapping[str, ActualColumn]
) -> None:
    name = name_of(model.table)
    _check_engine(target, name)
    for field, choice in types.items():
        column = actual.get(field)
        if column is None or not is_of(column, choice) or column.collation not in ("", target.collation):
            has = "is missing" if column is None else f"is {column.type} {column.collation}".rstrip()
            raise Refused(
                f"table {name} is there already, and its column {field} {has} where"
                f" {choice.shown}{collated(choice, target.collation)} is needed",
                hint=f"drop the table {name}, and the fork makes it, or give it that column",
            )
    unique = target.ask(
        "SELECT 1 FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = DATABASE()"  # noqa: S608 - quoted
        f" AND TABLE_NAME = {quoted_text(name)} AND NON_UNIQUE = 0 GROUP BY INDEX_NAME HAVING COUNT(*) = {len(model.key)}"
        f" AND SUM(COLUMN_NAME IN ({', '.join(map(quoted_text, model.key))}) AND SUB_PART IS NULL) = {len(model.key)}"
    )
    if not unique:
        raise Refused(
            f"table {name} is there already, without a unique index on {', '.join(model.key)}",
            hint=f"ALTER TABLE {sql_name(name)} ADD PRIMARY KEY ({', '.join(map(sql_name, model.key))})",
        )
    foreign = target.ask(
        "SELECT 1 FROM information_schema.KEY_COLUMN_USAGE WHERE TABLE_SCHEMA = DATABASE()"  # noqa: S608 - quoted
        f" AND TABLE_NAME = {quoted_text(name)} AND REFERENCED_TABLE_NAME IS NOT NULL LIMIT 1"
    )
    if foreign:
        raise Refused(
            f"table {name} is there already and has foreign keys, and rows do not arrive in their order at first",
            hint="add the foreign keys when the fork has caught up",
        )


def _check_engine(target: Connected, name: str) -> None:
    rows = target.ask(
        "SELECT ENGINE FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()"  # noqa: S608 - quoted
        f" AND TABLE_NAME = {quoted_text(name)}"
    )
    if rows and rows[0][0] != "InnoDB":
        raise Refused(
            f"table {name} is of engine {rows[0][0]}, which knows no transactions",
            hint=f"ALTER TABLE {sql_name(name)} ENGINE = InnoDB",
        )


def make(target: Connected, plans: Iterable[TablePlan]) -> None:
    """Make tables; one that was begun is made anew."""
    for plan in plans:
        name = name_of(plan.model.table)
        if plan.adopted:
            continue
        if made_for(target, name) == _short(plan.model.entity):
            _check_empty(target, name)
            target.run_all([f"DROP TABLE {sql_name(name)}"])
        target.run_all([create_table(plan, target.collation)])
        failpoint("after_target_table")


def create_table(plan: TablePlan, collation: str) -> str:
    """The statement that makes a table."""
    model = plan.model
    parts = [
        definition(column.field, plan.types[column.field], _null(column, model, plan.bands), collation)
        for column in model.columns
    ]
    parts.append(f"PRIMARY KEY ({', '.join(map(sql_name, model.key))})")
    band = "".join(f" AUTO_INCREMENT={number}" for number in plan.bands.values())
    return (
        f"CREATE TABLE {sql_name(name_of(model.table))} ({', '.join(parts)}) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4"
        f" COLLATE {collation} COMMENT={quoted_text(_MARK + _short(model.entity))}{band}"
    )


def _short(entity: str) -> str:
    """An entity's name as far as a comment has room for it."""
    return entity[:500]


def _null(column: Column, model: EntityModel, bands: Mapping[str, int]) -> str:
    if column.field in bands:
        return "NOT NULL AUTO_INCREMENT"
    return "NULL" if column.field in model.optional else "NOT NULL"


def definition(field: str, choice: TypeChoice, null: str, collation: str) -> str:
    """A column as a table is made with it."""
    return f"{sql_name(field)} {choice.shown}{collated(choice, collation)} {null}"


def collated(choice: TypeChoice, collation: str) -> str:
    """What comes behind the type of a text."""
    texts = ("char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set")
    return f" CHARACTER SET utf8mb4 COLLATE {collation}" if choice.shown.partition("(")[0] in texts else ""


def is_of(column: ActualColumn, choice: TypeChoice) -> bool:
    """Whether a column is of a chosen type."""
    return engine_type(column.type) == engine_type(choice.shown)


def load(target: Connected, models: Mapping[str, EntityModel]) -> dict[str, Table]:
    """The tables as they are now in the target.

    Raises:
        Refused: A table or a column is not there any more, or the table knows no transactions.
    """
    tables: dict[str, Table] = {}
    for entity, model in models.items():
        name = name_of(model.table)
        actual = columns(target, name) or _renamed(target, entity, name)
        missing = [column.field for column in model.columns if column.field not in actual]
        if missing:
            what = f"is without {', '.join(missing)}" if actual else "is gone"
            raise Refused(f"the fork's table {name} {what}", hint=PUT_BACK)
        _check_engine(target, name)
        forms = {
            column.field: form(
                sql_name(column.field),
                column_type=actual[column.field].type,
                collation=actual[column.field].collation,
                own_collation=target.collation,
                canonical=column.type,
            )
            for column in model.columns
        }
        tables[entity] = Table(model, sql_name(name), forms)
    return tables


def _renamed(target: Connected, entity: str, name: str) -> dict[str, ActualColumn]:
    """The columns of a table that was renamed for a shape whose record was not applied; it gets its name back until that is."""
    rows = target.ask(
        "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()"  # noqa: S608 - quoted
        f" AND TABLE_COMMENT = {quoted_text(_MARK + _short(entity))}"
    )
    if len(rows) != 1:
        return {}
    target.run_all([f"RENAME TABLE {sql_name(rows[0][0])} TO {sql_name(name)}"])
    return columns(target, name)


def made(target: Connected) -> list[str]:
    """The tables that the fork made."""
    rows = target.ask(
        "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()"  # noqa: S608 - quoted
        f" AND LEFT(TABLE_COMMENT, {len(_MARK)}) = {quoted_text(_MARK)} ORDER BY TABLE_NAME"
    )
    return [row[0] for row in rows]


def drop(target: Connected) -> None:
    """Drop what the fork made, one table after the other: begun and not ended, it is ended by the same command.

    Raises:
        Refused: Something of the owner's depends on it.
    """
    for name in made(target):
        target.run_all([f"DROP TABLE {sql_name(name)}"])
        failpoint("after_target_drop")
