"""The compiled reader of the binlog's rows and the Python it stands in for give the same bytes, and fail alike."""

import struct
import zlib
from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commitlog.cdc import native
from commitlog.cdc.tail.binlog import field_type as types
from commitlog.cdc.tail.binlog.assembler import BinlogAssembler
from commitlog.cdc.tail.binlog.charset import charset_of
from commitlog.cdc.tail.binlog.column import Attributes, resolve
from commitlog.cdc.tail.binlog.field_type import FieldType
from commitlog.cdc.tail.binlog.reading import Kind, Reading
from commitlog.cdc.tail.binlog.rows import PythonRowReader, RowReader
from commitlog.cdc.tail.binlog.table_map import BinlogRelation, Table
from commitlog.cdc.tail.binlog.transaction import BinlogTransaction
from commitlog.cdc.tail.row_change import MALFORMED
from commitlog.schemas.errors import DecodeError, HistoryLost
from fixtures.binlog_events import FLAVOURS, Flavour, events
from fixtures.json_binary import binary, length

pytestmark = pytest.mark.skipif(not native.COMPILED, reason="no compiled part")

UTF8, LATIN1, SJIS, BINARY = (charset_of(number) for number in (255, 8, 13, 63))
OPENING: Final = b"opening"


def reading(number: int, size: int = 0, scale: int = 0, **attributes: Any) -> Reading:
    return resolve(FieldType(number, size, scale), Attributes(**attributes))[2]


def small(size: int) -> st.SearchStrategy[bytes]:
    """Bytes of a value of this size, the ends of ranges more often."""
    ends = st.sampled_from([b"\0", b"\xff", b"\x80", b"\x7f"]).map(lambda octet: octet * size)
    return st.one_of(ends, st.binary(min_size=size, max_size=size))


def behind_length(size: int, content: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return content.map(lambda value: len(value).to_bytes(size, "little") + value)


texts = st.text(max_size=20).map(str.encode)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.binary(min_size=8, max_size=8).flatmap(
        lambda data: st.sampled_from([b"\x0f" + bytes([kind, 8]) + data for kind in (7, 10, 11, 12, 15)])
    ),
    st.binary(min_size=5, max_size=5).map(lambda data: b"\x0f\xf6" + length(7) + b"\x0a\x02" + data),
)
trees: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=4), inner, max_size=4)),
    max_leaves=12,
)
documents = st.builds(lambda tree, large: binary(tree, large=large), trees, st.booleans())

COLUMNS: Final[list[tuple[Reading, st.SearchStrategy[bytes]]]] = [
    *((reading(number, unsigned=unsigned), small(size)) for number, size in ((1, 1), (2, 2), (9, 3), (3, 4), (8, 8)) for unsigned in (False, True)),
    (reading(types.FLOAT, 4), st.one_of(small(4), st.floats(width=32).map(lambda f: struct.pack("<f", f)))),
    (reading(types.DOUBLE, 8), st.one_of(small(8), st.floats().map(lambda f: struct.pack("<d", f)))),
    *((reading(types.DECIMAL, p, s), small(n)) for p, s, n in ((12, 2, 6), (65, 30, 30), (5, 5, 3), (5, 0, 3), (1, 1, 1), (18, 9, 8))),
    (reading(types.YEAR), small(1)),
    (reading(types.DATE), small(3)),
    *((reading(number, n), small(size + (n + 1) // 2)) for number, size in ((types.DATETIME, 5), (types.TIMESTAMP, 4), (types.TIME, 3)) for n in range(7)),
    (reading(types.VARCHAR, 80, charset=UTF8), behind_length(1, texts)),
    (reading(types.VARCHAR, 800, charset=UTF8), behind_length(2, texts)),
    (reading(types.STRING, 20, charset=LATIN1), behind_length(1, st.binary(max_size=20))),
    (reading(types.VARCHAR, 20, charset=SJIS), behind_length(1, st.text("日本語\\ab").map(lambda t: t.encode("shift_jis")))),
    *((reading(types.BLOB, n, charset=BINARY), behind_length(n, st.binary(max_size=9))) for n in (1, 2, 3, 4)),
    (reading(types.STRING, 10, charset=BINARY), behind_length(1, st.binary(max_size=12))),
    (reading(types.GEOMETRY, 4), behind_length(4, st.binary(max_size=9))),
    (reading(types.ENUM, 1, labels=("a", "é", "c")), st.integers(0, 4).map(lambda n: bytes([n]))),
    (reading(types.ENUM, 2, labels=tuple(map(str, range(300)))), st.integers(0, 301).map(lambda n: n.to_bytes(2, "little"))),
    (reading(types.SET, 1, labels=("a", "é", "c")), st.integers(0, 8).map(lambda n: bytes([n]))),
    (reading(types.SET, 8, labels=tuple(map(str, range(64)))), small(8)),
    *((reading(types.BIT, n // 8, n % 8), small((n + 7) // 8)) for n in (1, 7, 8, 12, 64)),
    (reading(types.JSON, 4), behind_length(4, documents)),
    (reading(types.JSON, 4), behind_length(4, st.binary(max_size=20))),
]  # fmt: skip


def readers(columns: list[Reading]) -> tuple[PythonRowReader, PythonRowReader]:
    table = Table(BinlogRelation(1, "shop", "item", "f", ()), tuple(columns), (), None)
    return PythonRowReader(table), RowReader(table)


def outcome(call: Callable[[], object]) -> object:
    try:
        return call()
    except (*MALFORMED, KeyError) as exc:
        return type(exc), str(exc)


@st.composite
def rows(draw: st.DrawFn) -> tuple[list[Reading], bytes, bytes, bytes | None]:
    """Columns, rows of them, and the bitmaps of the columns that are there."""
    columns = draw(st.lists(st.sampled_from(COLUMNS), min_size=1, max_size=11))
    width = (len(columns) + 7) // 8
    whole = (1 << len(columns)) - 1
    bits = st.one_of(st.just(whole), st.integers(0, whole)).map(lambda number: number.to_bytes(width, "little"))
    first = draw(bits)
    second = draw(st.one_of(st.none(), bits))
    body = b""
    for _ in range(draw(st.integers(0, 3))):
        for present in (first,) if second is None else (first, second):
            there = [c for i, c in enumerate(columns) if int.from_bytes(present, "little") >> i & 1]
            nulls = draw(st.one_of(st.just(0), st.integers(0, (1 << len(there)) - 1)))
            body += nulls.to_bytes((len(there) + 7) // 8, "little")
            body += b"".join(draw(values) for i, (_, values) in enumerate(there) if not nulls >> i & 1)
    return [column for column, _ in columns], body, first, second


@given(rows())
def test_rows_are_read_alike(given: tuple[list[Reading], bytes, bytes, bytes | None]) -> None:
    columns, body, first, second = given
    python, compiled = readers(columns)
    arguments = (body, 0, OPENING, b"O", first, second)
    assert outcome(lambda: compiled.changes(*arguments)) == outcome(lambda: python.changes(*arguments))


@given(rows(), st.integers(0, 400), st.binary(min_size=1, max_size=4), st.booleans())
def test_damaged_rows_are_read_alike(
    given: tuple[list[Reading], bytes, bytes, bytes | None], at: int, damage: bytes, cut: bool
) -> None:
    columns, body, first, second = given
    at %= len(body) + 1
    body = body[:at] + (b"" if cut else damage + body[at + len(damage) :])
    python, compiled = readers(columns)
    arguments = (body, 0, OPENING, b"N", first, second)
    assert outcome(lambda: compiled.changes(*arguments)) == outcome(lambda: python.changes(*arguments))


def test_every_kind_is_read_by_the_compiled_part_itself() -> None:
    def never(data: bytes, at: int) -> tuple[bytes, int]:
        raise AssertionError(f"asked for {data!r} at {at}")

    plain = {
        Kind.INTEGER: b"\x01\0\0\0\0\0\0\0",
        Kind.FLOAT: b"\x20\xf1\x47\x49",
        Kind.DOUBLE: b"\0\0\0\0\0\0\xf8\x3f",
        Kind.DECIMAL: b"\x80\0\0\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\0\0\x01\x02\x03",
        Kind.YEAR: b"\x7e",
        Kind.DATE: b"\x76\xd5\x0f",
        Kind.DATETIME: b"\x99\xbb\xac\xa2\xcc",
        Kind.TIMESTAMP: b"\x6a\x05\x0c\x0d",
        Kind.TIME: b"\x80\xa1\x02",
        Kind.TEXT: b"\x02ab",
        Kind.OCTETS: b"\x02ab\0",
        Kind.GEOMETRY: b"\x01\0\0\0a",
        Kind.ENUM: b"\x01",
        Kind.SET: b"\x01",
        Kind.BIT: b"\x01",
        Kind.JSON: behind(binary({"a": [1, -70000, 1.5, "é", None, True, b"\x0f\x0c\x08" + bytes(8)]})),
    }
    for kind, data in plain.items():
        column = next(each for each, _ in COLUMNS if each.kind == kind and (kind != Kind.INTEGER or each.first == 8))
        sizes = {Kind.DECIMAL: 6, Kind.OCTETS: 3, Kind.DATETIME: 5, Kind.TIMESTAMP: 4, Kind.TIME: 3}
        body = b"\0" + data[: sizes.get(kind)]
        own = native.BinlogRows(((never, kind, column.first, column.second, column.texts),))
        want = readers([column])[0].changes(body, 0, OPENING, b"N", b"\1", None)
        assert own(body, 0, OPENING, b"N", b"\1", None) == want


def behind(data: bytes) -> bytes:
    return len(data).to_bytes(4, "little") + data


def packets(dump: list[bytes]) -> bytes:
    return b"".join((len(event) + 1).to_bytes(3, "little") + b"\7\0" + event for event in dump)


def told(transactions: list[BinlogTransaction], into: BinlogAssembler) -> list[object]:
    """All that is known of transactions, and where the assembler stands."""
    all_of_them: list[object] = []
    for each in transactions:
        changes = [(relation, data) for relation, data in each.changes]
        places = [relation.table for relation, _ in changes if isinstance(relation, BinlogRelation)]
        all_of_them.append(
            (
                each.gtid,
                each.xid,
                each.end,
                each.time_us,
                each.tags,
                each.statements,
                places,
                [data for _, data in changes],
            )
        )
        each.close()
    return [all_of_them, into.position, into.in_transaction]


def fed(into: BinlogAssembler, event: bytes, out: list[BinlogTransaction]) -> object:
    try:
        transaction = into.feed(event)
    except (DecodeError, HistoryLost) as exc:
        return type(exc), str(exc)
    if transaction is not None:
        out.append(transaction)
    return None


def by_feeding(into: BinlogAssembler, dump: list[bytes]) -> list[object]:
    out: list[BinlogTransaction] = []
    failed = next((error for event in dump if (error := fed(into, event, out)) is not None), None)
    return [failed, *told(out, into)]


def by_draining(into: BinlogAssembler, dump: list[bytes], room: int) -> list[object]:
    buffer, at, failed = packets(dump), 0, None
    out: list[BinlogTransaction] = []
    while at < len(buffer) and failed is None:
        at = into.drain(buffer, at, out, room)
        end = at + 4 + int.from_bytes(buffer[at : at + 3], "little")
        if at < len(buffer):
            failed = fed(into, buffer[at + 5 : end], out)
            at = end
    return [failed, *told(out, into)]


def assemblers(flavour: Flavour) -> tuple[BinlogAssembler, BinlogAssembler]:
    first, second = (BinlogAssembler(1 << 20, flavour=flavour, server_uuid="a-server") for _ in range(2))
    return first, second


DUMPS: dict[Flavour, list[bytes]] = {flavour: events(flavour) for flavour in FLAVOURS}


@given(st.sampled_from(FLAVOURS), st.integers(1, 8000), st.integers(1, 3))
def test_groups_in_a_buffer_become_transactions_alike(flavour: Flavour, room: int, times: int) -> None:
    dump = DUMPS[flavour] * times
    one, other = assemblers(flavour)
    assert by_draining(one, dump, room) == by_feeding(other, dump)


@given(
    st.sampled_from(FLAVOURS),
    st.integers(0, 300),
    st.integers(0, 2000),
    st.binary(min_size=1, max_size=8),
    st.sampled_from(["over", "into", "cut"]),
    st.booleans(),
)
def test_damaged_groups_fail_alike(flavour: Flavour, place: int, at: int, damage: bytes, how: str, right: bool) -> None:
    dump = [*DUMPS[flavour], *DUMPS[flavour]]
    event = dump[place % len(dump)]
    at = 4 + at % (len(event) - 8)
    rest = {"over": event[at + len(damage) :], "into": event[at:], "cut": event[-4:]}[how]
    event = event[:at] + damage + rest
    if right and len(event) > 23:
        body = event[:9] + len(event).to_bytes(4, "little") + event[13:-4]
        event = body + zlib.crc32(body).to_bytes(4, "little")
    dump[place % len(dump)] = event
    one, other = assemblers(flavour)
    assert by_draining(one, dump, 1 << 20) == by_feeding(other, dump)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_plain_groups_are_taken_by_the_compiled_part_itself(flavour: Flavour) -> None:
    """The second time, for the tables are known then."""
    into, _ = assemblers(flavour)
    by_feeding(into, DUMPS[flavour])
    kinds = {"mysql": (33, 30), "mariadb": (162, 23)}[flavour]
    dump = DUMPS[flavour]
    starts = [n for n, event in enumerate(dump) if event[4] == kinds[0]]
    ends = [n for n, event in enumerate(dump) if event[4] == 16]
    taken = 0
    by_feeding(into, dump[:2])
    for start in starts:
        end = min((n for n in ends if n > start), default=len(dump))
        group = dump[start : end + 1]
        if [event[4] for event in group].count(kinds[0]) == 1 and kinds[1] in [event[4] for event in group]:
            out: list[BinlogTransaction] = []
            buffer = packets(group)
            into._place.behind = into._place.behind >> 40 << 40 | 4  # pyright: ignore[reportPrivateUsage]
            taken += into.drain(buffer, 0, out, 1) == len(buffer) and len(out) == 1
    assert taken >= 2


def test_checksums_of_every_length_are_the_same() -> None:
    dump = DUMPS["mysql"]
    into, _ = assemblers("mysql")
    by_feeding(into, dump)
    start = next(n for n, event in enumerate(dump) if event[4] == 33 and dump[n + 2][4] == 19)
    group = dump[start : next(n for n, event in enumerate(dump) if n > start and event[4] == 16) + 1]
    for size in range(40):
        body = bytearray(b"\1\0\0\0\x1d" + bytes(14) + bytes(range(size)))
        body[9:13] = (len(body) + 4).to_bytes(4, "little")
        ignored = bytes(body) + zlib.crc32(body).to_bytes(4, "little")
        buffer = packets([resealed(event) for event in (*group[:2], ignored, *group[2:])])
        assert into.drain(buffer, 0, [], 1) == len(buffer)


def resealed(event: bytes) -> bytes:
    """Without a position in its header."""
    body = event[:13] + bytes(4) + event[17:-4]
    return body + zlib.crc32(body).to_bytes(4, "little")
