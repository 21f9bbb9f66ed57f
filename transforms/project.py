"""Rows become the published changes of an entity: resolved once per table and app schema, flat per row.

A projection knows which columns of a table an app schema publishes, under which names and in which form. It takes rows as
the source's text and gives the JSON bytes of one item of a commit (schemas/README.md §3). It reads no catalog and no log.
"""

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from ..schemas.change import DELETE, INSERT, UNSENT, RawChange, RawRow
from ..schemas.errors import LOG_WHOLE_ROWS, DecodeError, Refused, SchemaError
from ..schemas.shape import Shape
from .app_schema import Entity

Converter = Callable[[bytes], object]


def _dumps(value: object) -> bytes:
    """JSON in no more memory than it takes: what orjson gives keeps the four kilobytes that it was written in."""
    return b"".join((orjson.dumps(value), b""))


@dataclass(frozen=True, slots=True)
class PublishedColumn:
    """Where a published field's value stands in the source's row, and how its text becomes the record's value."""

    index: int
    field: str
    convert: Converter


class Projection:
    """How the rows of one relation become changes of one entity.

    Args:
        shape: The entity's shape, whose columns are those of `columns` in order.
        columns: The published columns.
        width: How many columns the source's rows have.
    """

    def __init__(self, shape: Shape, columns: Sequence[PublishedColumn], *, width: int) -> None:
        self.shape = shape
        self.shape_id = shape.id
        self.entity = shape.entity
        self._columns = [(c.index, c.field, c.convert) for c in columns]
        self._key = [c for field in shape.key for c in self._columns if c[1] == field]
        self._key_fields = frozenset(shape.key)
        published = {c.index: (c.field, c.convert) for c in columns}
        self.readers: tuple[tuple[str | None, Converter], ...] = tuple(
            published.get(index, (None, bytes)) for index in range(width)
        )
        """For each column of the source's rows its field, None where it is not published, and its converter."""
        self.whole_rekeys = False
        """Record the whole row where a key changes: while a snapshot is taken, the row may come from where it has not been yet."""

    def insert(self, row: dict[str, Any], shape_index: int) -> bytes:
        """The JSON of an insert, from a row's recorded values.

        Raises:
            Refused: A field of the key is null.
        """
        key = {field: row[field] for field in self.shape.key}
        if None in key.values():
            raise self._keyless(next(field for field, value in key.items() if value is None))
        return _dumps({"op": "insert", "entity": self.entity, "shape": shape_index, "key": key, "after": row})

    def item(self, change: RawChange, shape_index: int) -> bytes | None:
        """The JSON of one change, or None when it changes nothing that is published.

        Args:
            change: As a tail read it.
            shape_index: The place of this projection's shape in the record's list of shapes.

        Raises:
            Refused: The source's replica identity does not hold the entity's key, or it did not log whole old rows.
            ValueError: A value is not the text of its type, or a row is not of this table.
        """
        op, old, old_is_key, new = change
        width = len(self.readers)
        if (new is not None and len(new) != width) or (old is not None and len(old) != width):
            raise ValueError(f"a row of {self.shape.table} does not have its {width} columns")
        if op == INSERT and new is not None:
            item = {"op": "insert", "entity": self.entity, "shape": shape_index, "key": self.key(new)}
            return _dumps(self._with_row(item, "after", new))
        if op == DELETE and old is not None:
            item = {"op": "delete", "entity": self.entity, "shape": shape_index, "key": self.key(old)}
            return _dumps(self._with_key_row(item, old) if old_is_key else self._with_row(item, "before", old))
        if new is None:
            raise ValueError("an update without a new row")
        if old is None or old_is_key:
            return _dumps(self._update_by_key(old, new, shape_index))
        return self._update(old, new, shape_index)

    def key(self, row: RawRow) -> dict[str, Any]:
        """The key of a row.

        Raises:
            Refused: A field of the key was not sent, or is null.
        """
        key: dict[str, Any] = {}
        for index, field, convert in self._key:
            value = row[index]
            if value is None or value is UNSENT:
                raise self._keyless(field)
            key[field] = convert(value)  # type: ignore[arg-type] # UNSENT is excluded above
        return key

    def key_values(self, texts: Sequence[bytes]) -> list[object]:
        """The key's values from their texts in the order of the table's columns, as `from` and `to` of a snapshot hold them."""
        by_column = sorted(self._key, key=lambda column: column[0])
        values = {field: convert(text) for (_, field, convert), text in zip(by_column, texts, strict=True)}
        return [values[field] for field in self.shape.key]

    def _keyless(self, field: str) -> Refused:
        return Refused(
            f"{self.shape.table}: a row arrived without {field}, a field of the key of {self.entity}",
            hint=f"ALTER TABLE {self.shape.table} REPLICA IDENTITY FULL, or declare another key",
        )

    def row(self, row: RawRow) -> bytes:
        """The item of a snapshot's row, whose shape is the record's first."""
        return _dumps(
            self._with_row({"op": "row", "entity": self.entity, "shape": 0, "key": self.key(row)}, "after", row)
        )

    def _with_row(self, item: dict[str, Any], name: str, row: RawRow) -> dict[str, Any]:
        """Put the whole recorded row under `name`, and what was not sent under `unsent`."""
        try:
            # UNSENT is rare and no converter takes it, so rows are not searched for it first.
            item[name] = {
                field: None if (value := row[index]) is None else convert(value)  # type: ignore[arg-type] # see above
                for index, field, convert in self._columns
            }
        except TypeError:
            sent = [column for column in self._columns if row[column[0]] is not UNSENT]
            if len(sent) == len(self._columns):
                raise
            item[name] = {f: None if (v := row[i]) is None else convert(v) for i, f, convert in sent}  # type: ignore[arg-type] # sent
            item["unsent"] = [field for index, field, _ in self._columns if row[index] is UNSENT]
        return item

    def _with_key_row(self, item: dict[str, Any], row: RawRow) -> dict[str, Any]:
        """A key-only old row: its other values are not null but unknown."""
        item["before"] = item["key"]
        unsent = [field for _, field, _ in self._columns if field not in self._key_fields]
        if unsent:
            item["unsent"] = unsent
        return item

    def _update(self, old: RawRow, new: RawRow, shape_index: int) -> bytes | None:
        before: dict[str, Any] = {}
        after: dict[str, Any] = {}
        for index, field, convert in self._columns:
            was, now = old[index], new[index]
            if was != now and now is not UNSENT:
                if was is UNSENT:
                    message = f"{self.shape.table}: an update came without what {field} was before"
                    raise DecodeError(message, hint=LOG_WHOLE_ROWS)
                before[field] = None if was is None else convert(was)  # type: ignore[arg-type] # UNSENT is excluded above
                after[field] = None if now is None else convert(now)  # type: ignore[arg-type] # UNSENT is excluded above
        if not after:
            return None
        item: dict[str, Any] = {"op": "update", "entity": self.entity, "shape": shape_index, "key": self.key(old)}
        if not self._key_fields.isdisjoint(after):
            whole = [was if now is UNSENT else now for now, was in zip(new, old, strict=True)]
            if self.whole_rekeys:
                return _dumps(self._update_by_key(old, whole, shape_index))
            item["op"] = "rekey"
            item["newkey"] = self.key(whole)
        item["image"] = "full"
        item["before"] = before
        item["after"] = after
        return _dumps(item)

    def _update_by_key(self, old: RawRow | None, new: RawRow, shape_index: int) -> dict[str, Any]:
        item: dict[str, Any] = {"op": "update", "entity": self.entity, "shape": shape_index}
        newkey = self.key(new)
        item["key"] = newkey if old is None else self.key(old)
        if item["key"] != newkey:  # what changed may be a column of the replica identity that the key does not have
            item["op"] = "rekey"
            item["newkey"] = newkey
        item["image"] = "key"
        return self._with_row(item, "after", new)


def require_key(entity: Entity, published: Container[str], present: Container[str]) -> None:
    """Can the key of an entity be recorded?

    Args:
        entity: Whose.
        published: The fields that are recorded.
        present: The columns that its table has.

    Raises:
        SchemaError: A field of it is not recorded, or not there.
    """
    for field in entity.key:
        if field not in published or field not in present:
            why = "the table has no such column" if field not in present else "its class is not recorded in this log"
            raise SchemaError(
                f"{entity.name}: the key field {field!r} cannot be recorded: {why}",
                hint="give the entity a key of recorded columns, then commitlog schema add",
            )


def truncate_item(entities: Sequence[str], *, cascade: bool, restart_identity: bool) -> bytes:
    """The item of a TRUNCATE statement that emptied the tables of `entities`."""
    item: dict[str, Any] = {"op": "truncate", "entities": list(entities)}
    if cascade:
        item["cascade"] = True
    if restart_identity:
        item["restart_identity"] = True
    return _dumps(item)
