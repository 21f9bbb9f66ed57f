"""Many changes as few statements, in an order that leaves the same rows as one after the other would. No I/O.

Changes of different rows do not depend on each other, as far as the log tells; changes of one row keep their order. What the
target's own constraints make of another order is found by the statements, which then change nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from ...schemas.errors import RecordError
from .model import EntityModel
from .units import Change, Origin

Fields = tuple[str, ...]
Op = tuple[Change, Origin]

Signature = tuple[str, str, Fields, Fields]
"""(entity, op, fields of before, fields of after): changes of one signature go in one statement."""


@dataclass(frozen=True, slots=True)
class Step:
    """Changes of different rows that go in one statement.

    Args:
        signature: What they have in common; its op is `insert`, `row`, `update` or `delete`.
        ops: The changes.
    """

    signature: Signature
    ops: list[Op]

    @property
    def fields(self) -> Fields | None:
        """The fields that both sides agree on afterwards; None for the whole row."""
        return self.signature[3] if self.signature[1] == "update" else None


class Batches:
    """Makes the steps for changes.

    Args:
        models: The entities that the fork has.
    """

    def __init__(self, models: Mapping[str, EntityModel]) -> None:
        self._models = models
        self._known: set[Signature] = set()

    def forget(self) -> None:
        """Look at everything again: a table has changed."""
        self._known.clear()

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
            if signature not in self._known:
                self._check(signature, origin)
                self._known.add(signature)
            turn = max(turns.get(key, 0) for key in keys)
            turns.update((key, turn + 1) for key in keys)
            groups.setdefault((turn, signature), []).append(op)
        ordered = sorted(groups.items(), key=lambda item: item[0][0])
        return [Step(signature, found) for (_, signature), found in ordered]

    def _check(self, signature: Signature, origin: Origin) -> None:
        entity, kind, before, after = signature
        known = self._models[entity].by_field.keys()
        if not known >= {*before, *after} or (kind in ("insert", "row", "update") and not after):
            raise malformed(origin, f"its fields are not those of {entity}")


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
