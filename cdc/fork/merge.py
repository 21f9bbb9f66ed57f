"""The one decision about a value on which a fork and its upstream may differ. Everything else is reading and writing.

It looks at values only: upstream says what a field was and what it is now, the fork's database says what it is here. That is
right for a fork that follows one way. A decision by history needs nothing but another body of `decide`.
"""

from dataclasses import dataclass
from typing import Final, Literal

Decision = Literal["keep", "take", "conflict"]


@dataclass(frozen=True, slots=True)
class Unknown:
    """The type of UNKNOWN."""


UNKNOWN: Final = Unknown()
"""Stands for a base that upstream did not tell."""

Value = str | None
"""A value as the target database writes it as text, after it was cast to the column's type; None is SQL's NULL."""


def decide(base: Value | Unknown, ours: Value, theirs: Value) -> Decision:
    """What becomes of a field of a row.

    Args:
        base: What upstream says the field was.
        ours: What it is in the fork.
        theirs: What upstream says it is now.

    Returns:
        `keep`: ours stands, nothing is to be written; `take`: theirs is to be written; `conflict`: both sides changed it.
    """
    if ours == theirs:
        return "keep"
    if unchanged(base, ours):
        return "take"
    return "keep" if theirs == base else "conflict"


def unchanged(base: Value | Unknown, ours: Value) -> bool:
    """Whether the fork's value is still the one that upstream knows of, as far as upstream tells."""
    return isinstance(base, Unknown) or ours == base
