"""The statements that apply changes: each takes one parameter, `$1`, a JSON list of changes as records hold them. No I/O.

It is read as jsonb, which finds a field without looking at the others, or as json, which has no limit but that of all values.

Names are identifiers or literals that psycopg quotes; values are cast to the type of their column by the server, so that they
are compared and written as the target sees them. A row is compared as text: every type has it, and it hides nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, LiteralString

from psycopg import sql

from ..batch import Fields
from ..model import EntityModel
from .column_types import type_sql

_CAST_TO_ANOTHER = ("bpchar", "character", "inet")
"""Types whose cast to text is not what the server writes: without its padding, or with a mask that is not there."""

_COMMA, _AND = sql.SQL(", "), sql.SQL(" AND ")


@dataclass(frozen=True, slots=True)
class Table:
    """An entity's table as it is in the target.

    Args:
        model: What the shapes say.
        types: Field to the target's own name of the column's type.
        bare_types: The same without modifiers. A cast to varchar(4) cuts a value silently; what is written is cast to
            varchar, so that the column refuses what does not fit.
        json: What the parameter of its statements is read as.
    """

    model: EntityModel
    types: Mapping[str, str]
    bare_types: Mapping[str, str]
    json: Literal["jsonb", "json"] = "jsonb"

    @property
    def of_any_size(self) -> "Table":
        """The table for statements whose parameter is above what jsonb takes, 256 MB."""
        return replace(self, json="json")

    @property
    def name(self) -> sql.Identifier:
        """The table in a statement."""
        return sql.Identifier(*self.model.table)


def insert(table: Table, fields: Fields) -> sql.Composed:
    """Insert the rows of `after`; an error where there is one of that key."""
    return sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {}").format(
        table.name, _names(fields), _COMMA.join(_written(table, f) for f in fields), _changes(table, "after")
    )


def insert_absent(table: Table, fields: Fields) -> sql.Composed:
    """As `insert`, but leave alone the rows that are there."""
    return insert(table, fields) + sql.SQL(" ON CONFLICT ({}) DO NOTHING").format(_names(table.model.key))


def differing(table: Table, fields: Fields) -> sql.Composed:
    """The places in the list (from 1) of the changes whose row is there and is not as `after` says."""
    same = _AND.join(_same(table, "after", f) for f in fields)
    return sql.SQL(
        "SELECT x.n FROM {0} AS t, ROWS FROM ({1}_to_recordset($1::{1}) AS (key {1}, after {1})) WITH ORDINALITY"
        " AS x(key, after, n) WHERE {2} AND NOT ({3}) ORDER BY x.n"
    ).format(table.name, sql.SQL(table.json), _key(table), same)


def update(table: Table, before: Fields, after: Fields) -> sql.Composed:
    """Set the fields of `after` in the rows of `key` in which the fields of `before` still hold."""
    assignments = (sql.SQL("{} = {}").format(sql.Identifier(f), _written(table, f)) for f in after)
    return sql.SQL("UPDATE {} AS t SET {} FROM {} WHERE {}").format(
        table.name, _COMMA.join(assignments), _changes(table, "key", "before", "after"), _matching(table, before)
    )


def delete(table: Table, before: Fields) -> sql.Composed:
    """Delete the rows of `key` in which the fields of `before` still hold."""
    return sql.SQL("DELETE FROM {} AS t USING {} WHERE {}").format(
        table.name, _changes(table, "key", "before"), _matching(table, before)
    )


def read(table: Table) -> sql.Composed:
    """The row of `key`, all fields as text in the model's order, locked against writers."""
    return sql.SQL("SELECT {} FROM {} AS t, {} WHERE {} FOR UPDATE OF t").format(
        _texts(table), table.name, _changes(table, "key"), _key(table)
    )


def scan(table: Table) -> sql.Composed:
    """All rows, all fields as text in the model's order."""
    return sql.SQL("SELECT {} FROM {} AS t").format(_texts(table), table.name)


def _texts(table: Table) -> sql.Composed:
    return _COMMA.join(
        _text(table, c.field, sql.SQL("t.{}").format(sql.Identifier(c.field))) for c in table.model.columns
    )


def cast_values(table: Table, fields: Fields) -> sql.Composed:
    """The fields of `after` as text, after a cast to the types of the columns."""
    texts = (_text(table, f, _value(table, "after", f)) for f in fields)
    return sql.SQL("SELECT {} FROM {}").format(_COMMA.join(texts), _changes(table, "after"))


def _changes(table: Table, *members: LiteralString) -> sql.Composed:
    """The changes of the parameter as rows `x`."""
    columns = _COMMA.join(sql.SQL(member + " {}").format(sql.SQL(table.json)) for member in members)
    return sql.SQL("{0}_to_recordset($1::{0}) AS x({1})").format(sql.SQL(table.json), columns)


def _written(table: Table, field_name: str) -> sql.Composed:
    """A field of `after` as it is written."""
    return _cast(table, "after", field_name, table.bare_types)


def _value(table: Table, of: str, field_name: str) -> sql.Composed:
    """A field of `key`, `before` or `after` as it is compared."""
    return _cast(table, of, field_name, table.types)


def _cast(table: Table, of: str, field_name: str, types: Mapping[str, str]) -> sql.Composed:
    text = sql.SQL("(x.{} ->> {})").format(sql.Identifier(of), sql.Literal(field_name))
    if table.model.by_field[field_name].type == "bytes":
        text = sql.SQL("decode({}, 'base64')").format(text)
    return sql.SQL("{}::{}").format(text, type_sql(types[field_name]))


def _key(table: Table) -> sql.Composed:
    return _AND.join(_equal(table, f) for f in table.model.key)


def _equal(table: Table, field_name: str) -> sql.Composed:
    return sql.SQL("t.{} = {}").format(sql.Identifier(field_name), _value(table, "key", field_name))


def _matching(table: Table, before: Fields) -> sql.Composed:
    return _AND.join([_key(table), *(_same(table, "before", name) for name in before)])


def _same(table: Table, of: str, field_name: str) -> sql.Composed:
    ours = _text(table, field_name, sql.SQL("t.{}").format(sql.Identifier(field_name)))
    return sql.SQL("{} IS NOT DISTINCT FROM {}").format(ours, _text(table, field_name, _value(table, of, field_name)))


def _text(table: Table, field_name: str, value: sql.Composable) -> sql.Composed:
    """A value as the server writes it."""
    if table.bare_types[field_name] in _CAST_TO_ANOTHER:
        return sql.SQL("CASE WHEN {0} IS NOT NULL THEN concat({0}) END").format(value)
    return sql.SQL("({})::text").format(value)


def _names(fields: Iterable[str]) -> sql.Composed:
    return _COMMA.join(sql.Identifier(f) for f in fields)
