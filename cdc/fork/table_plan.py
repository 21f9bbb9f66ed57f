"""What is to be done to the tables of a fork, in no engine's words but the types'. No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ...transforms.table_name import TableName
from .model import EntityModel


@dataclass(frozen=True, slots=True)
class TypeChoice:
    """The type a column gets.

    Args:
        shown: As the server writes it; for an enum of PostgreSQL its name as shapes write it.
        labels: Of an enum that the fork needs.
        enum: The enum's schema and name, where enums have names.
        note: What the owner of the fork should know, or empty.
    """

    shown: str
    labels: tuple[str, ...] = ()
    enum: TableName | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class TablePlan:
    """A table that the fork needs and does not have.

    Args:
        model: The entity.
        types: Field to type.
        adopted: Whether an empty table of the owner's is taken instead of making one.
        bands: Field to the first number that the fork itself gives out there, of the columns that get numbers.
    """

    model: EntityModel
    types: Mapping[str, TypeChoice]
    adopted: bool
    bands: Mapping[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, slots=True)
class Evolution:
    """What a further shape of a known entity changes.

    Args:
        old: The entity before it.
        model: The entity after it.
        added: New columns and their types.
        widened: Columns whose type becomes one that holds every value they may have.
        enums: Enums that may get labels.
        relaxed: Columns that may be null from now on.
    """

    old: EntityModel
    model: EntityModel
    added: Mapping[str, TypeChoice]
    widened: Mapping[str, TypeChoice]
    enums: tuple[TypeChoice, ...]
    relaxed: tuple[str, ...]
