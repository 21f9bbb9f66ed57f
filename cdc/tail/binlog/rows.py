"""WRITE, UPDATE and DELETE_ROWS events: row changes as tail/row_change.py describes them.

Source: MySQL, libs/mysql/binlog/event/rows_event.h (class Rows_event).
"""

from struct import Struct
from typing import Final

from ....schemas.change import INSERT, UPDATE
from ....schemas.errors import DecodeError
from ... import native
from ..row_change import HEADER_BYTES as CHANGE_HEADER
from ..row_change import parse_change
from .event import HEADER_BYTES, packed_int, whole
from .partial import partial_changes
from .reading import ReadValue
from .table_map import BinlogRelation, Table

_u16 = Struct("<H").unpack_from
_head = Struct(">cI").pack
_count = Struct(">H").pack
_change = Struct(">BI").pack

_OPENING: Final = b"w" + bytes(CHANGE_HEADER - 1)

Plan = list[ReadValue | None]
"""The readers of a row's columns, None for those that are not in it."""


Plain = tuple["native.BinlogRows", BinlogRelation, int | None, int]
"""What the compiled part needs of a table: its own reader, the relation, the column that holds tags, the relation's number."""


class PythonRowReader:
    """Reads the rows of one table.

    Args:
        table: The table.
    """

    plain: Plain | None = None

    def __init__(self, table: Table) -> None:
        self.table = table
        self._plans: dict[bytes, Plan] = {}

    def read(self, op: int, body: bytes, *, extra: bool, partial: bool = False) -> list[bytes]:
        """The row changes of an event.

        Args:
            op: INSERT, UPDATE or DELETE.
            body: The event without its checksum.
            extra: Whether it may carry extra data (version 2).
            partial: Whether its new documents may be told by differences.

        Raises:
            ValueError, IndexError, struct.error: It is malformed.
            DecodeError: It tells differences of what it does not say.
        """
        at = HEADER_BYTES + 8
        if extra:
            at += max(2, _u16(body, at)[0])
        count, at = packed_int(body, at)
        if count != len(self.table.readings):
            raise ValueError(f"rows of {count} columns in a table of {len(self.table.readings)}")
        width = (count + 7) // 8
        first, at = whole(body, at, at + width), at + width
        second = None
        if op == UPDATE:
            second, at = whole(body, at, at + width), at + width
        opening = _OPENING + _change(op, self.table.relation.oid)
        if partial:
            if None in (*self._plan(first), *self._plan(second or first)):
                raise DecodeError("differences of rows that are not whole", hint="SET GLOBAL binlog_row_image = FULL")
            return partial_changes(body, at, opening, self.table.readings, self.table.documents)
        return self.changes(body, at, opening, b"N" if op == INSERT else b"O", first, second)

    def changes(
        self, body: bytes, at: int, opening: bytes, mark: bytes, first: bytes, second: bytes | None, /
    ) -> list[bytes]:
        """The row changes that stand from a place to the end.

        Args:
            body: The event without its checksum.
            at: Where its rows begin.
            opening: What each change begins with.
            mark: What stands before the old or only row.
            first: A bit for each column, set where old or only rows have it.
            second: The same of new rows, where there are two.

        Raises:
            ValueError, IndexError, struct.error: It is malformed.
        """
        plan, then = self._plan(first), None if second is None else self._plan(second)
        found: list[bytes] = []
        end = len(body)
        while at < end:
            old, at = read_row(body, at, plan)
            if then is None:
                found.append(b"%b%b%b" % (opening, mark, old))
            else:
                new, at = read_row(body, at, then)
                found.append(b"%b%b%bN%b" % (opening, mark, old, new))
        if at != end:
            raise ValueError("rows of another length than their event")
        return found

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

    def _plan(self, present: bytes) -> Plan:
        plan = self._plans.get(present)
        if plan is None:
            bits = int.from_bytes(present, "little")
            plan = [reading.read if bits >> i & 1 else None for i, reading in enumerate(self.table.readings)]
            if plan.count(None) == len(plan):
                raise ValueError("rows without a column")
            self._plans[present] = plan
        return plan


class UnreadRows(PythonRowReader):
    """Stands for the rows of a table that cannot be read: each event is one insert without columns.

    Whoever wants the rows finds in the relation why they are not there.
    """

    def read(self, op: int, body: bytes, *, extra: bool, partial: bool = False) -> list[bytes]:
        """One change, whatever the event has."""
        return [_OPENING + _change(INSERT, self.table.relation.oid) + b"N" + _count(0)]


def read_row(data: bytes, at: int, plan: Plan) -> tuple[bytes, int]:
    """A row as TupleData, and where it ends. Raises ValueError, IndexError or struct.error where it is malformed."""
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


RowReader: type[PythonRowReader] = PythonRowReader

if native.COMPILED:

    class CompiledRowReader(PythonRowReader):
        """The same, with plain values read by native/binlog.c."""

        def __init__(self, table: Table) -> None:
            super().__init__(table)
            self._compiled = native.BinlogRows(
                tuple((each.read, each.kind, each.first, each.second, each.texts) for each in table.readings)
            )
            self.plain = (self._compiled, table.relation, table.tag, table.relation.oid)

        def changes(
            self, body: bytes, at: int, opening: bytes, mark: bytes, first: bytes, second: bytes | None, /
        ) -> list[bytes]:
            """As the Python, which decides whatever is not plain."""
            found = self._compiled(body, at, opening, mark, first, second)
            return super().changes(body, at, opening, mark, first, second) if found is None else found

    RowReader = CompiledRowReader
