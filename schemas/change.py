"""A row change between the tail that read it and the projection that shapes it: values still the source's own.

No change is an object of its own here: at a hundred thousand rows a second a tuple is what fits.
"""

from typing import Final


class Unsent:
    """The type of UNSENT, which is compared by identity."""

    __slots__ = ()


UNSENT: Final = Unsent()
"""Stands for a value that the source did not send: it is unknown, and never null."""

RawRow = list[bytes | Unsent | None]
"""A row's values in column order, as the source's text; None is SQL's NULL."""

RawChange = tuple[int, RawRow | None, bool, RawRow | None]
"""(op, old row, whether the old row holds its key only, new row); op is the byte `I`, `U` or `D`."""

INSERT: Final = 0x49
UPDATE: Final = 0x55
DELETE: Final = 0x44
