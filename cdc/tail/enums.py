"""Which labels enums have at the place where the stream is. No I/O.

The stream does not tell when an enum is altered, and the catalogs say what it is now: before its changes that were not read yet, and
behind all of them. So a shape keeps the labels it has until a value has none of them.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from ...schemas.shape import Column, Shape


class UnknownLabel(Exception):
    """A value is none of the labels that its column's shape has: the enum was altered.

    Args:
        enum: Its name as shapes have it.
        label: The value.
    """

    def __init__(self, enum: str, label: str) -> None:
        super().__init__(f"{label!r} is no label of {enum}")
        self.enum, self.label = enum, label


class Labels(dict[bytes, str]):
    """An enum's labels by their bytes: its `__getitem__` is the column's converter.

    Raises:
        UnknownLabel: There is no such label.
    """

    def __init__(self, enum: str, labels: Iterable[str]) -> None:
        super().__init__((label.encode(), label) for label in labels)
        self._enum = enum

    def __missing__(self, text: object) -> str:
        if not isinstance(text, bytes):  # UNSENT, which no converter takes
            raise TypeError(f"{text!r} is not a label's text")
        raise UnknownLabel(self._enum, text.decode())


class Enums:
    """The labels that shapes are to have.

    Args:
        recorded: Enum to its labels in the log's last shape with it; kept up to date here.
    """

    def __init__(self, recorded: dict[str, list[str]]) -> None:
        self._recorded = recorded
        self._missed: dict[str, str] = {}

    def labels(self, enum: str, now: tuple[str, ...]) -> tuple[str, ...]:
        """The labels for a shape.

        Args:
            enum: The enum's name.
            now: What the catalogs say.
        """
        recorded, missed = tuple(self._recorded.get(enum, now)), self._missed.get(enum)
        return recorded if missed is None else with_label(recorded, missed, now)

    def described(self, column: Column) -> Column:
        """A column with the labels that its enum has where the stream is; one of type `gone` as the log knows it."""
        if column.type == "gone":
            column = replace(column, type="enum" if column.engine_type in self._recorded else "exact")
        if column.type == "enum":
            column = replace(column, labels=self.labels(column.engine_type, column.labels))
        return column

    def miss(self, unknown: UnknownLabel) -> None:
        """A value was none of the labels: the next shape has it."""
        self._missed[unknown.enum] = unknown.label

    def record(self, shape: Shape) -> None:
        """A shape was appended to the log."""
        for enum, labels in enum_labels(shape).items():
            self._recorded[enum] = list(labels)
            self._missed.pop(enum, None)


def enum_labels(shape: Shape) -> Mapping[str, tuple[str, ...]]:
    """Enum to labels, of all enums that a shape has."""
    return {column.engine_type: column.labels for column in shape.columns if column.type == "enum"}


def with_label(labels: tuple[str, ...], label: str, now: tuple[str, ...]) -> tuple[str, ...]:
    """The labels after the one alteration that brought `label`, of all those between them and what the catalogs say now."""
    if label in labels:
        return labels
    if label not in now:
        return (*labels, label)
    first = {new: old for old, new in renamed_labels(labels, now).items()}
    if label in first:
        return tuple(label if known == first[label] else known for known in labels)
    before = [first.get(known, known) for known in now[: now.index(label)]]
    place = next((labels.index(known) + 1 for known in reversed(before) if known in labels), 0)
    return (*labels[:place], label, *labels[place:])


def renamed_labels(old: Sequence[str], new: Sequence[str]) -> dict[str, str]:
    """Which label became which, as far as lists of labels tell.

    PostgreSQL renames a label in its place, removes none, and puts new ones behind the others unless told otherwise. So between
    labels that stayed, those that went became those that came, in their order, where not fewer came.
    """
    stays = [label for label in old if label in new]
    if stays != [label for label in new if label in old]:
        return {}
    out: dict[str, str] = {}
    went, came = iter(old), iter(new)
    for stay in (*stays, None):
        gone, added = _up_to(stay, went), _up_to(stay, came)
        if len(gone) <= len(added):
            out.update(zip(gone, added, strict=False))
    return out


def _up_to(label: str | None, labels: Iterator[str]) -> list[str]:
    return list(itertools.takewhile(lambda known: known != label, labels))
