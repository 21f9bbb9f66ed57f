"""What a diagnosis finds."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at.

    Args:
        level: `ok`; `warning`, a guarantee is weaker or something is unsafe; `error`, the worker will not run.
        what: What was found.
        hint: What to do about it.
    """

    level: Level
    what: str
    hint: str = ""
