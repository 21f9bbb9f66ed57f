"""What a comparison of a fork with its source found. No I/O."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ...schemas.shape import Shape

SHOWN_KEYS = 20
"""Keys that are named of each kind of difference; all are counted."""

Key = tuple[str, ...]

Told = Sequence[tuple[Shape, Collection[str]]]
"""Newest shapes of entities, each with the fields that any of its shapes has."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Rows of one kind that make two tables unequal: how many, and the first keys, each value as text."""

    count: int
    keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A field that is not compared, and who is without it: the source's table, the fork's, or the newest shape that the log told."""

    field: str
    by: Literal["source", "fork", "shape"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One table on both sides.

    Args:
        entity: The entity.
        table: The table, quoted.
        rows: How many rows the source has; None where one side is without the table, or without a field of its key.
        missing: Rows that only the source has.
        extra: Rows that only the fork has.
        other: Rows of one key that differ.
        left_out: Fields that some shape had, and that are not compared.
    """

    entity: str
    table: str
    rows: int | None
    missing: Difference
    extra: Difference
    other: Difference
    left_out: tuple[LeftOut, ...]

    @classmethod
    def nothing(cls, shape: Shape, left: "tuple[LeftOut, ...]") -> "Comparison":
        """Of a table that was not looked at."""
        none = Difference(0, ())
        return cls(shape.entity, shape.table, None, none, none, none, left)

    @property
    def equal(self) -> bool:
        """Whether both sides have the same rows, and the fork every field that the newest shape and the source have."""
        differ = self.missing.count or self.extra.count or self.other.count
        return self.rows is not None and not differ and all(left.by != "fork" for left in self.left_out)

    def to_json(self) -> dict[str, Any]:
        """The comparison as commands print it."""
        out: dict[str, Any] = {"entity": self.entity, "table": self.table, "rows": self.rows, "equal": self.equal}
        for name, found in (("missing", self.missing), ("extra", self.extra), ("other", self.other)):
            out[name] = {"count": found.count, "keys": [list(key) for key in found.keys]}
        out["left_out"] = [{"field": left.field, "by": left.by} for left in self.left_out]
        return out


class Found:
    """Keys, the first few kept."""

    def __init__(self) -> None:
        self._count, self._keys = 0, list[Key]()

    def add(self, key: Key) -> None:
        """Take one more."""
        self._count += 1
        if len(self._keys) < SHOWN_KEYS:
            self._keys.append(key)

    @property
    def difference(self) -> Difference:
        """All of them."""
        return Difference(self._count, tuple(self._keys))


def left_out(
    shape: Shape, once: Collection[str], theirs: Collection[str], ours: Collection[str]
) -> tuple[LeftOut, ...]:
    """The fields that cannot be compared.

    Args:
        shape: The entity's newest shape.
        once: The fields that any of its shapes has.
        theirs: The columns of the source's table.
        ours: The columns of the fork's.
    """
    told = {column.field for column in shape.columns}
    found: list[LeftOut] = []
    for field in once:
        if field not in told:
            found.append(LeftOut(field, "shape"))
        elif field not in theirs:
            found.append(LeftOut(field, "source"))
        elif field not in ours:
            found.append(LeftOut(field, "fork"))
    return tuple(found)
