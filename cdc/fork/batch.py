"""Many changes as few statements, in an order that leaves the same rows as one after the other would. No I/O.

Changes of different rows do not depend on each other, as far as the log tells; changes of one row keep their order. What the
target's own constraints make of another order is found by the statements, which then change nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import psycopg

from ...schemas.errors import RecordError
from . import statements
from .conflicts import Origin
from .statements import Fields, Table
from .units import Change

Op = tuple[Change, Origin]

Signature = tuple[str, str, Fields, Fields]
"""(entity, op, fields of before, fields of after): changes of one signature go in one statement."""


@dataclass(frozen=True, slots=True)
class Step:
    """One statement for some changes.

    Args:
        query: It must change as many rows as there are changes, `check` aside.
        check: For rows of a snapshot, asked before: the places of those that differ from what is there.
        ops: The changes.
        fields: The fields that both sides agree on afterwards; None for the whole row.
    """

    query: bytes
    check: bytes | None
    ops: list[Op]
    fields: Fields | None

    @property
    def parameter(self) -> str:
        """The changes as JSON."""
        return orjson.dumps([change for change, _ in self.ops]).decode()


class Batches:
    """Makes the steps for changes.

    Args:
        connection: The target, for its rules of quoting.
        tables: Entity to table.
    """

    def __init__(self, connection: "psycopg.Connection[tuple[Any, ...]]", tables: Mapping[str, Table]) -> None:
        self._connection, self._tables = connection, tables
        self._made: dict[Signature, tuple[bytes, bytes | None]] = {}

    def forget(self) -> None:
        """Make all statements again: a table has changed."""
        self._made.clear()

    def steps(self, ops: Sequence[Op]) -> list[Step]:
        """The statements for some changes.

        Raises:
            RecordError: A change is not one of its shape.
        """
        turns: dict[tuple[str, bytes], int] = {}
        groups: dict[tuple[int, Signature], list[Op]] = {}
        for op in ops:
            change, origin = op
            try:
                entity, signature = change["entity"], _signature(change)
                keys = [(entity, orjson.dumps(change["key"]))]
                if signature[1] == "update" and "newkey" in change:
                    keys.append((entity, orjson.dumps(change["newkey"])))
            except (KeyError, TypeError) as exc:
                raise malformed(origin, repr(exc)) from exc
            if signature not in self._made:
                self._made[signature] = self._make(signature, origin)
            turn = max(turns.get(key, 0) for key in keys)
            turns.update((key, turn + 1) for key in keys)
            groups.setdefault((turn, signature), []).append(op)
        ordered = sorted(groups.items(), key=lambda item: item[0][0])
        return [self._step(signature, found) for (_, signature), found in ordered]

    def _step(self, signature: Signature, ops: list[Op]) -> Step:
        query, check = self._made[signature]
        return Step(query, check, ops, signature[3] if signature[1] == "update" else None)

    def _make(self, signature: Signature, origin: Origin) -> tuple[bytes, bytes | None]:
        entity, kind, before, after = signature
        table = self._tables[entity]
        if not table.model.by_field.keys() >= {*before, *after} or (kind in ("insert", "row", "update") and not after):
            raise malformed(origin, f"its fields are not those of {entity}")
        check: bytes | None = None
        if kind == "insert":
            query = statements.insert(table, after)
        elif kind == "row":
            query = statements.insert_absent(table, after)
            check = statements.differing(table, after).as_bytes(self._connection)
        elif kind == "update":
            query = statements.update(table, before, after)
        else:
            query = statements.delete(table, before)
        return query.as_bytes(self._connection), check


def _signature(change: Change) -> Signature:
    op = change["op"]
    if op in ("insert", "row"):
        return change["entity"], op, (), tuple(change["after"])
    if op in ("update", "rekey"):
        return change["entity"], "update", tuple(change.get("before", ())), tuple(change["after"])
    if op == "delete":
        return change["entity"], op, tuple(change["before"]), ()
    raise KeyError(op)


def malformed(origin: Origin, why: str) -> RecordError:
    """The error of a change that is none."""
    seq, item = origin.place
    return RecordError(f"record {seq}: item {item} is not a change: {why}", seq=seq)
