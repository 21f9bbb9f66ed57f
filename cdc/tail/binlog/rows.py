"""WRITE, UPDATE and DELETE_ROWS events: row changes as tail/row_change.py describes them.

Source: MySQL, libs/mysql/binlog/event/rows_event.h (class Rows_event).
"""

from dataclasses import dataclass, field
from struct import Struct
from typing import Final

from ....schemas.change import INSERT, UPDATE
from ..row_change import HEADER_BYTES as CHANGE_HEADER
from ..row_change import parse_change
from .event import HEADER_BYTES, packed_int, whole
from .table_map import Table
from .temporal import ReadValue

_u16 = Struct("<H").unpack_from
_head = Struct(">cI").pack
_count = Struct(">H").pack
_change = Struct(">BI").pack

_OPENING: Final = b"w" + bytes(CHANGE_HEADER - 1)


@dataclass(slots=True)
class RowReader:
    """Reads the rows of one table.

    Args:
        table: The table.
    """

    table: Table
    _plans: dict[bytes, list[ReadValue | None]] = field(default_factory=dict[bytes, "list[ReadValue | None]"])

    def read(self, op: int, body: bytes, *, extra: bool) -> list[bytes]:
        """The row changes of an event.

        Args:
            op: INSERT, UPDATE or DELETE.
            body: The event without its checksum.
            extra: Whether it may carry extra data (version 2).

        Raises:
            ValueError, IndexError, struct.error: It is malformed.
        """
        at = HEADER_BYTES + 8
        if extra:
            at += max(2, _u16(body, at)[0])
        count, at = packed_int(body, at)
        if count != len(self.table.readers):
            raise ValueError(f"rows of {count} columns in a table of {len(self.table.readers)}")
        width = (count + 7) // 8
        first, at = self._plan(whole(body, at, at + width)), at + width
        opening = _OPENING + _change(op, self.table.relation.oid)
        changes: list[bytes] = []
        end = len(body)
        if op == UPDATE:
            second, at = self._plan(whole(body, at, at + width)), at + width
            while at < end:
                old, at = _tuple(body, at, first)
                new, at = _tuple(body, at, second)
                changes.append(b"%bO%bN%b" % (opening, old, new))
        else:
            mark = b"N" if op == INSERT else b"O"
            while at < end:
                row, at = _tuple(body, at, first)
                changes.append(b"%b%b%b" % (opening, mark, row))
        if at != end:
            raise ValueError("rows of another length than their event")
        return changes

    def tags(self, rows: list[bytes]) -> list[bytes]:
        """The tags that rows of the stamp table hold."""
        place = self.table.tag
        found: list[bytes] = []
        for row in rows:
            new = parse_change(row)[3]
            content = None if new is None or place is None else new[place]
            if isinstance(content, bytes):
                found.append(content)
        return found

    def _plan(self, present: bytes) -> list[ReadValue | None]:
        """The readers of the columns that are there, None for those that are not."""
        plan = self._plans.get(present)
        if plan is None:
            bits = int.from_bytes(present, "little")
            if not bits:
                raise ValueError("rows without a column")
            plan = [read if bits >> i & 1 else None for i, read in enumerate(self.table.readers)]
            self._plans[present] = plan
        return plan


def _tuple(data: bytes, at: int, plan: list[ReadValue | None]) -> tuple[bytes, int]:
    """A row as TupleData, and where it ends."""
    there = len(plan) - plan.count(None)
    width = (there + 7) // 8
    nulls = int.from_bytes(whole(data, at, at + width), "little")
    at += width
    parts = [_count(len(plan))]
    for read in plan:
        if read is None:
            parts.append(b"u")
            continue
        if nulls & 1:
            parts.append(b"n")
        else:
            text, at = read(data, at)
            parts.append(_head(b"t", len(text)))
            parts.append(text)
        nulls >>= 1
    return b"".join(parts), at
