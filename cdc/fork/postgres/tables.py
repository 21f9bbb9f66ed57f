"""The tables of a fork: which are needed, which are there, and the statements that make, change and drop them.

A table, type or schema that the fork made is remembered by its object id, and only such are ever dropped.
"""

import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from psycopg import sql

from ....schemas.errors import Refused
from ....schemas.shape import Column
from ....transforms.table_name import TableName, quote, quoted
from ...tail.enums import renamed_labels
from ..model import EntityModel, without
from ..store import PUT_BACK
from ..table_plan import Evolution, TablePlan, TypeChoice
from .column_types import BAND, NAME_BYTES_MAX, choice_sql, choose
from .connection import Connected
from .statements import Table


def plan_table(target: Connected, model: EntityModel) -> TablePlan:
    """See what a table needs.

    Raises:
        Refused: A table of that name is there, and the fork cannot take it.
    """
    _check_names(model)
    types = {column.field: choose(target.connection, column, model) for column in model.columns}
    actual = target.column_types(*model.table)
    if actual:
        _check_adoption(target, model, types, actual)
    bands = {} if actual else {c.field: band for c in model.columns if (band := _band(model, c, types[c.field]))}
    return TablePlan(model, types, bool(actual), bands)


def _check_names(model: EntityModel) -> None:
    for name in (*model.table, *(column.field for column in model.columns)):
        if not 0 < len(name.encode("utf-8", "surrogatepass")) <= NAME_BYTES_MAX or "\0" in name:
            raise Refused(f"{model.entity}: {name[:64]!r} cannot be a name in PostgreSQL", hint=without(model.entity))


def _band(model: EntityModel, column: Column, choice: TypeChoice) -> int | None:
    """The first number that the fork's own sequence gives, where the column gets one."""
    return BAND.get(choice.shown) if column.identity and column.field not in model.partial else None


def _check_adoption(
    target: Connected, model: EntityModel, types: Mapping[str, TypeChoice], actual: Mapping[str, str]
) -> None:
    name = quoted(model.table)
    table = sql.Identifier(*model.table)
    if target.rows(sql.SQL("SELECT EXISTS (SELECT FROM {})").format(table))[0][0]:
        raise Refused(
            f"table {name} is there already and holds rows that the fork did not make",
            hint="fork into a database of its own",
        )
    for field, choice in types.items():
        if actual.get(field) != choice.shown and not _same_enum(choice, actual.get(field, "")):
            has = f"is {actual[field]}" if field in actual else "is missing"
            raise Refused(
                f"table {name} is there already, and its column {quote(field)} {has} where {choice.shown} is needed",
                hint=f"drop the table {name}, and the fork makes it, or give it that column",
            )
    unique, foreign = target.rows(
        "SELECT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND i.indimmediate"
        " AND i.indpred IS NULL AND (SELECT array_agg(a.attname::text ORDER BY a.attname::text) FROM pg_attribute a"
        " WHERE a.attrelid = c.oid AND a.attnum = ANY (i.indkey)) = (SELECT array_agg(k ORDER BY k) FROM unnest(%s::text[]) k)),"
        " EXISTS (SELECT FROM pg_constraint f WHERE f.conrelid = c.oid AND f.contype = 'f')"
        " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s",
        (list(model.key), *model.table),
    )[0]
    if not unique:
        raise Refused(
            f"table {name} is there already, without a unique index on {', '.join(map(quote, model.key))}",
            hint=f"ALTER TABLE {name} ADD PRIMARY KEY ({', '.join(map(quote, model.key))})",
        )
    if foreign:
        raise Refused(
            f"table {name} is there already and has foreign keys, and rows do not arrive in their order at first",
            hint="add the foreign keys when the fork has caught up",
        )


def make(target: Connected, plans: Iterable[TablePlan]) -> None:
    """Make what tables need: schemas, enums, the tables. Inside a transaction, after `state.create`.

    Raises:
        Refused: A type of an enum's name is there and lacks a label.
    """
    for plan in plans:
        for choice in plan.types.values():
            if choice.enum:
                _make_enum(target, choice.enum, choice.labels)
        if not plan.adopted:
            _make_schema(target, plan.model.table[0])
            target.execute(create_table(plan))
            _remember(target, "table", plan.model.table, "pg_class", "rel")


def create_table(plan: TablePlan) -> sql.Composed:
    """The statement that makes a table."""
    model = plan.model
    columns: list[sql.Composable] = []
    for column in model.columns:
        text = sql.SQL("{} {}").format(sql.Identifier(column.field), choice_sql(plan.types[column.field]))
        band = plan.bands.get(column.field)
        if band is not None:
            # BY DEFAULT: the fork writes upstream's numbers, and others get numbers far above.
            text += sql.SQL(" GENERATED BY DEFAULT AS IDENTITY (START WITH {0} MINVALUE {0})").format(sql.Literal(band))
        elif column.field not in model.optional:
            text += sql.SQL(" NOT NULL")
        columns.append(text)
    key = sql.SQL(", ").join(map(sql.Identifier, model.key))
    columns.append(sql.SQL("PRIMARY KEY ({})").format(key))
    return sql.SQL("CREATE TABLE {} ({})").format(sql.Identifier(*model.table), sql.SQL(", ").join(columns))


def plan_evolution(target: Connected, old: EntityModel, new: EntityModel) -> Evolution:
    """See what a further shape needs.

    Raises:
        Refused: A column got another type; the owner decides what becomes of the values that are there. Or the table got
            another name, and there is a table of that name.
    """
    _check_names(new)
    actual, name = target.column_types(*old.table), quoted(old.table)
    if new.table != old.table and target.column_types(*new.table):
        raise Refused(
            f"{new.entity} moves from table {name} to {quoted(new.table)} upstream, and the fork has a table of that name",
            hint=f"ALTER TABLE {quoted(new.table)} RENAME TO …, then run the same command again",
        )
    known = old.by_field
    added: dict[str, TypeChoice] = {}
    widened: dict[str, TypeChoice] = {}
    enums: list[TypeChoice] = []
    for column in new.columns:
        if column == known.get(column.field):
            continue
        choice = choose(target.connection, column, new)
        if choice.enum:
            was = known.get(column.field)
            # Labels that are gone upstream, rows may hold here until they are told anew.
            kept = was.labels if was and was.engine_type != column.engine_type else ()
            enums.append(replace(choice, labels=tuple(dict.fromkeys((*choice.labels, *kept)))))
        is_type = actual.get(column.field)
        if is_type is None:
            added[column.field] = choice
        elif is_type != choice.shown and (
            widens(is_type, choice.shown) or _takes_over(choice, known.get(column.field))
        ):
            widened[column.field] = choice
        elif is_type != choice.shown and not _same_enum(choice, is_type):
            raise Refused(
                f"{new.entity}.{column.field} becomes {column.engine_type} upstream, and is {is_type} in the fork",
                hint=f"ALTER TABLE {name} ALTER COLUMN {quote(column.field)} TYPE {choice.shown} USING {quote(column.field)}::{choice.shown},"
                " then run the same command again",
            )
    relaxed = sorted(new.optional - old.optional - set(new.key) - added.keys())
    return Evolution(old, new, added, widened, tuple(enums), tuple(relaxed))


def evolve(target: Connected, evolution: Evolution) -> None:
    """Change a table for a further shape. Inside a transaction."""
    _rename(target, evolution.old.table, evolution.model.table)
    table = sql.Identifier(*evolution.model.table)
    for choice in evolution.enums:
        if choice.enum:
            _make_enum(target, choice.enum, choice.labels)
    for field, choice in evolution.added.items():
        target.execute(
            sql.SQL("ALTER TABLE {} ADD COLUMN {} {}").format(table, sql.Identifier(field), choice_sql(choice))
        )
    for field, choice in evolution.widened.items():
        target.execute(
            sql.SQL("ALTER TABLE {0} ALTER COLUMN {1} TYPE {2} USING {1}{3}::{2}").format(
                table, sql.Identifier(field), choice_sql(choice), sql.SQL("::text" if choice.enum else "")
            )
        )
    for field in evolution.relaxed:
        column = sql.Identifier(field)
        target.execute(sql.SQL("ALTER TABLE {} ALTER COLUMN {} DROP IDENTITY IF EXISTS").format(table, column))
        target.execute(sql.SQL("ALTER TABLE {} ALTER COLUMN {} DROP NOT NULL").format(table, column))


def widens(old: str, new: str) -> bool:
    """Whether a type, as the server names it, holds every value of another just as it is."""
    (old_name, old_size), (new_name, new_size) = _sized(old), _sized(new)
    if old_name == new_name:
        if not new_size:
            return True
        # Of numeric the digits behind the point must stay: the rest of the list.
        return bool(old_size) and old_name in _SIZED and new_size[0] >= old_size[0] and new_size[1:] == old_size[1:]
    order = next((order for order in _WIDER if old_name in order and new_name in order), ())
    return bool(order) and not new_size and order.index(old_name) < order.index(new_name)


_SIZED = ("character varying", "numeric")
_WIDER = (("smallint", "integer", "bigint", "numeric"), ("real", "double precision"), ("character varying", "text"))


def _sized(name: str) -> tuple[str, list[int]]:
    match = re.fullmatch(r"([a-z ]+)\(([0-9]+(?:,[0-9]+)?)\)", name)
    return (match[1], [int(number) for number in match[2].split(",")]) if match else (name, [])


def _rename(target: Connected, old: TableName, new: TableName) -> None:
    if old[0] != new[0]:
        _make_schema(target, new[0])
        target.execute(sql.SQL("ALTER TABLE {} SET SCHEMA {}").format(sql.Identifier(*old), sql.Identifier(new[0])))
    if old[1] != new[1]:
        target.execute(
            sql.SQL("ALTER TABLE {} RENAME TO {}").format(sql.Identifier(new[0], old[1]), sql.Identifier(new[1]))
        )
    if old != new:
        target.execute(
            "UPDATE _commitlog.made SET namespace = %s, name = %s WHERE kind = 'table' AND (namespace, name) = (%s, %s)",
            (*new, *old),
        )


def load(target: Connected, models: Mapping[str, EntityModel]) -> dict[str, Table]:
    """The tables as they are now in the target.

    Raises:
        Refused: A table or a column is not there any more.
    """
    tables: dict[str, Table] = {}
    for entity, model in models.items():
        actual = target.column_types(*model.table)
        missing = [quote(column.field) for column in model.columns if column.field not in actual]
        if missing:
            what = f"is without {', '.join(missing)}" if actual else "is gone"
            raise Refused(
                f"the fork's table {quoted(model.table)} {what}",
                hint=PUT_BACK,
            )
        tables[entity] = Table(model, actual, target.column_types(*model.table, modified=False))
    return tables


def made(target: Connected) -> list[tuple[str, TableName]]:
    """(kind, name) of what the fork made and is still there, schemas last."""
    rows = target.rows(
        "SELECT m.kind, m.namespace, m.name FROM _commitlog.made m WHERE EXISTS (SELECT FROM pg_class o WHERE o.oid = m.object"
        " AND m.kind = 'table') OR EXISTS (SELECT FROM pg_type o WHERE o.oid = m.object AND m.kind = 'type')"
        " OR EXISTS (SELECT FROM pg_namespace o WHERE o.oid = m.object AND m.kind = 'schema') ORDER BY m.kind = 'schema', m.n DESC"
    )
    return [(row[0], (row[1], row[2])) for row in rows]


def drop(target: Connected) -> list[str]:
    """Drop what the fork made, inside a transaction; what is left and why, as texts.

    Raises:
        Refused: Something of the owner's depends on it.
    """
    left: list[str] = []
    for kind, name in made(target):
        if kind == "schema":
            used = target.rows(
                "SELECT EXISTS (SELECT FROM pg_depend WHERE refclassid = 'pg_namespace'::regclass AND refobjid ="
                " (SELECT oid FROM pg_namespace WHERE nspname = %s))",
                (name[1],),
            )[0][0]
            if used:
                left.append(f"schema {quote(name[1])}: it holds what the fork did not make")
                continue
            target.execute(sql.SQL("DROP SCHEMA {}").format(sql.Identifier(name[1])))
        elif kind == "table":
            target.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(*name)))
        else:
            target.execute(sql.SQL("DROP TYPE {}").format(sql.Identifier(*name)))
    return left


def _same_enum(choice: TypeChoice, shown: str) -> bool:
    """Whether the server's name of a type is that of an enum: it may quote what shapes do not, such as key words."""
    return choice.enum is not None and shown.replace('"', "") == ".".join(choice.enum).replace('"', "")


def _takes_over(choice: TypeChoice, was: Column | None) -> bool:
    """Whether every value of an enum's column is one of the new type: of text, or of an enum that gets its labels, too."""
    return was is not None and was.type == "enum" and (choice.enum is not None or choice.shown == "text")


def _make_schema(target: Connected, name: str) -> None:
    if target.rows("SELECT to_regnamespace(quote_ident(%s)) IS NULL", (name,))[0][0]:
        target.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
        target.execute(
            "INSERT INTO _commitlog.made (kind, namespace, name, object)"
            " SELECT 'schema', '', nspname, oid FROM pg_namespace WHERE nspname = %s",
            (name,),
        )


def _make_enum(target: Connected, name: TableName, labels: tuple[str, ...]) -> None:
    identifier = sql.Identifier(*name)
    found = target.rows(
        "SELECT ARRAY(SELECT e.enumlabel::text FROM pg_enum e WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder) FROM pg_type t"
        " JOIN pg_namespace n ON n.oid = t.typnamespace WHERE n.nspname = %s AND t.typname = %s AND t.typtype = 'e'",
        name,
    )
    if not found:
        _make_schema(target, name[0])
        texts = sql.SQL(", ").join(map(sql.Literal, labels))
        target.execute(sql.SQL("CREATE TYPE {} AS ENUM ({})").format(identifier, texts))
        _remember(target, "type", name, "pg_type", "typ")
        return
    known: list[str] = found[0][0]
    missing = [label for label in labels if label not in known]
    if missing and ("type", name) not in made(target):
        raise Refused(
            f"the type {quoted(name)} is there already, without the label {missing[0]!r}",
            hint=f"ALTER TYPE {quoted(name)} ADD VALUE …, or fork into a database of its own",
        )
    for old, new in renamed_labels(known, labels).items():
        statement = sql.SQL("ALTER TYPE {} RENAME VALUE {} TO {}")
        target.execute(statement.format(identifier, sql.Literal(old), sql.Literal(new)))
        known[known.index(old)] = new
    for before, label in itertools.pairwise((None, *labels)):
        if label not in known:
            place = known.index(before) + 1 if before is not None else 0
            beside = sql.SQL(" BEFORE {}").format(sql.Literal(known[place])) if place < len(known) else sql.SQL("")
            target.execute(sql.SQL("ALTER TYPE {} ADD VALUE {}{}").format(identifier, sql.Literal(label), beside))
            known.insert(place, str(label))


def _remember(target: Connected, kind: str, name: TableName, catalog: str, prefix: str) -> None:
    target.execute(
        f"INSERT INTO _commitlog.made (kind, namespace, name, object) SELECT %s, %s, %s, o.oid FROM {catalog} o"  # noqa: S608
        f" JOIN pg_namespace n ON n.oid = o.{prefix}namespace WHERE n.nspname = %s AND o.{prefix}name = %s",
        (kind, *name, *name),
    )
