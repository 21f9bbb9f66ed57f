"""The compiled part of the worker gives what Python's own gives, byte for byte and error for error."""

import ctypes
import hashlib
from collections.abc import Callable
from datetime import UTC
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commitlog.cdc import native
from commitlog.cdc.log.chain import seal
from commitlog.cdc.tail import pgtypes
from commitlog.cdc.tail.assembler import Assembler, PythonAssembler
from commitlog.cdc.tail.enums import Labels, UnknownLabel
from commitlog.cdc.tail.items import ShapeItem, shape_item
from commitlog.cdc.tail.transaction import Transaction
from commitlog.schemas.change import UNSENT, RawRow
from commitlog.schemas.errors import CommitLogError
from commitlog.schemas.record import Record
from commitlog.schemas.shape import Column, Shape
from commitlog.transforms.project import Projection, PublishedColumn
from fixtures import messages
from fixtures.logs import golden_lines

pytestmark = pytest.mark.skipif(not native.COMPILED, reason=f"the compiled part is not there: {native.missing}")

LINES = [line.removesuffix(b"\n") for line in golden_lines()]

TYPES = ["int32", "text", "bytes", "bool", "timestamp", "instant", "decimal"]
COLUMNS = [(f"c{index}", kind) for index, kind in enumerate([*TYPES, "text"])]
ODD = [b"", b"0", b"-0", b"-1", b"01", b"2147483647", b"-2147483648", b"99999999999", b"1 ", b"\x00", b"t", b"f", b"true",
       b'"\\\b\t\n\f\r\x01\x1f\x7f', "ü€😀".encode(), b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\\x", b"\\x00ff",
       b"\\x0", b"\\xFF", b"\\xzz", b"\\x" + b"00" * 49, b"2026-11-22 10:11:12.345678", b"2026-11-22 10:11:12+00", b"2026-11-22 10:11:12+02",
       b"0044-03-15 00:00:00 BC", b"0044-03-15 00:00:00+00 BC", b"infinity", b"10000-01-01 00:00:00+00", b"2026-11-22 +00", b"NaN"]  # fmt: skip

values: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(ODD), st.text().map(str.encode), st.binary(max_size=20), st.none(), st.just(UNSENT)
)
good = st.tuples(
    st.integers(-(2**31), 2**31 - 1).map(lambda n: str(n).encode()),
    st.text().map(str.encode),
    st.binary(max_size=100).map(lambda data: b"\\x" + data.hex().encode()),
    st.sampled_from([b"t", b"f"]),
    st.datetimes().map(lambda at: str(at).encode()),
    st.datetimes().map(lambda at: str(at).encode() + b"+00"),
    st.decimals().map(lambda number: str(number).encode()),
    st.none() | st.sampled_from([b"", b"new", "ü".encode()]),
).map(list)
rows = good | st.lists(values, min_size=len(COLUMNS) - 1, max_size=len(COLUMNS) + 1)

CONVERTERS = [*(pgtypes.converter(kind) for _, kind in COLUMNS[:-1]), Labels("mood", ["", "new", "ü"]).__getitem__]


def projection(published: list[int], key: list[int]) -> Projection:
    columns = [COLUMNS[index] for index in published]
    return Projection(
        Shape.make(
            'En"tity',
            "public.item",
            key=tuple(COLUMNS[index][0] for index in key),
            columns=tuple(Column(name, kind, kind) for name, kind in columns),
        ),
        [PublishedColumn(index, COLUMNS[index][0], CONVERTERS[index]) for index in published],
        width=len(COLUMNS),
    )


PLANS = [projection([*range(len(COLUMNS))], [0]), projection([0, 1, 7], [1, 0]), projection([2, 3], [2])]


def outcome(call: Callable[[], object]) -> object:
    """What a call gives, or the error it raises."""
    try:
        return call()
    except (CommitLogError, UnknownLabel, ValueError, TypeError) as exc:
        return type(exc), str(exc)


def both(plan: Projection) -> tuple[ShapeItem, ShapeItem]:
    compiled, python = shape_item(plan), shape_item(plan, compiled=False)
    assert isinstance(compiled, native.Shaper)
    return compiled, python


@given(st.binary(max_size=300))
def test_sha256_is_hashlibs_whichever_way_it_is_computed(data: bytes) -> None:
    try:
        for portable in (True, False):
            native.choose(portable)
            assert native.sha256(data) == hashlib.sha256(data).digest()
    finally:
        native.choose(False)


@given(
    st.lists(st.binary(max_size=200), min_size=1, max_size=40),
    st.binary(min_size=32, max_size=32),
    st.integers(0, 2**60),
    st.datetimes().map(lambda at: int(at.replace(tzinfo=UTC).timestamp() * 1_000_000)),
    st.text(max_size=5),
)
def test_a_record_is_sealed_alike(items: list[bytes], salt: bytes, seq: int, time_us: int, word: str) -> None:
    values = (
        '{"v":1,',
        seq,
        "0" * 64,
        "commit",
        word,
        time_us,
        '","source":',
        "0/1",
        word,
        '"schema":',
        items,
        salt,
        b"now",
    )

    assert native.seal(*values) == seal(*values)


def sealed_with(items: list[bytes]) -> tuple[Any, ...]:
    """Values of `seal` of which only the items matter."""
    return "{", 1, "0" * 64, "commit", "i", 0, "e", "0/1", "", "", items, b"s" * 32, b"now"


@pytest.mark.parametrize("portable", [True, False])
def test_items_of_every_length_and_number_are_hashed_alike(portable: bool) -> None:
    """Leaves are hashed two at a time, in blocks of 64 bytes: every way in which two of them can end."""
    lengths = [*range(200), 1000, 0, 10_000]
    try:
        native.choose(portable)
        for count in (*range(1, 40), len(lengths)):
            items = [bytes([65 + length % 26]) * length for length in lengths[-count:]]
            assert native.seal(*sealed_with(items)) == seal(*sealed_with(items)), count
        for first in lengths:
            items = [b"a" * first, b"b" * (first * 7 % 203)]
            assert native.seal(*sealed_with(items)) == seal(*sealed_with(items)), first
    finally:
        native.choose(False)


@pytest.mark.parametrize(
    "odd",
    [
        b'"',
        b"\\",
        b"\n",
        b"\x1f",
        b"\x7f",
        "ü".encode(),
        "€".encode(),
        "😀".encode(),
        b"\xff",
        b"\x80",
        b" ",
        b"!",
        b"#",
        b"[",
        b"]",
        b"~",
    ],
)
def test_a_text_is_written_alike_wherever_its_odd_byte_stands(odd: bytes) -> None:
    """Text is looked at eight bytes at a time."""
    compiled, python = both(PLANS[0])
    for before in range(20):
        for after in range(20):
            for text in (b"a" * before + odd + b"z" * after, odd * 2 + b"a" * before + odd + b" " * after + odd):
                row: RawRow = [b"7", text, *[None] * (len(COLUMNS) - 2)]
                data = messages.insert(row)
                assert outcome(lambda data=data: compiled(data, 0)) == outcome(lambda data=data: python(data, 0))


@given(rows, rows, st.sampled_from(PLANS), st.booleans(), st.sampled_from([b"O", b"K"]), st.integers(0, 2**40))
def test_changes_become_items_alike(
    old: RawRow, new: RawRow, plan: Projection, alike: bool, kind: bytes, shape: int
) -> None:
    if alike:  # an update that leaves most of the row, its key among it, as it was
        new = [*old[:-1], *new[-1:]]
    compiled, python = both(plan)
    for data in (
        messages.insert(new),
        messages.update(new, old, kind=kind),
        messages.update(new),
        messages.delete(old, kind=kind),
    ):
        assert outcome(lambda data=data: compiled(data, shape)) == outcome(lambda data=data: python(data, shape))


@given(good, good)
def test_plain_changes_are_shaped_by_the_compiled_part_itself(old: RawRow, new: RawRow) -> None:
    def never(data: bytes, shape_index: int) -> bytes | None:
        raise AssertionError("handed over")

    names = [name for name, _ in COLUMNS]
    kinds = [0 if kind == "decimal" else ["text", "int32", "bool", "timestamp", "instant", "bytes"].index(kind) for _, kind in COLUMNS]  # fmt: skip
    shaper = native.Shaper(
        b"", tuple((f'"{name}":'.encode(), kind, None) for name, kind in zip(names, kinds, strict=True)), (0,), never
    )

    for data in (messages.insert(new), messages.update([old[0], *new[1:]], old), messages.delete(old)):
        shaper(data, 0)


@given(good, st.integers(0, 400), st.binary(min_size=1, max_size=4), st.booleans())
def test_damaged_changes_fail_alike(row: RawRow, at: int, damage: bytes, cut: bool) -> None:
    compiled, python = both(PLANS[0])
    for whole in (messages.insert(row), messages.update(row, row), messages.delete(row)):
        place = 25 + at % (len(whole) - 25)
        data = whole[:place] if cut else whole[:place] + damage + whole[place + len(damage) :]
        if len(data) > 25:
            assert outcome(lambda data=data: compiled(data, 0)) == outcome(lambda data=data: python(data, 0))


STREAM = [
    messages.begin(), messages.begin(9, 0x2000), messages.commit(), messages.commit(0x2000, 5), messages.relation(),
    messages.relation(7, identity="d"), messages.insert([b"1", None]), messages.insert([b"2"], 7), messages.delete([b"1"]),
    messages.update([b"1"]), messages.truncate([7, messages.ITEM]), messages.message(b"tag"), messages.message(b""),
    messages.message(b"x", prefix=b"other"), messages.message(b"x", prefix=b"commitlogs"), messages.message(b"x", transactional=False),
    messages.insert([b"x" * 200]), b"", b"w", messages.begin()[:-1], messages.commit()[:-3], messages.message(b"tag")[:-1],
    messages.message(b"tag") + b"x", messages.insert([])[:28],
]  # fmt: skip


@given(st.lists(st.sampled_from(STREAM), max_size=30))
def test_messages_become_transactions_alike(stream: list[bytes]) -> None:
    compiled, python = Assembler(500), PythonAssembler(500)
    assert isinstance(compiled, native.Collector)

    def fed(assembler: PythonAssembler, message: bytes) -> object:
        transaction = assembler.feed(message)
        if transaction is None:
            return assembler.in_transaction
        changes = [
            ([r.oid for r in place] if isinstance(place, tuple) else place.oid, data)
            for place, data in transaction.changes
        ]
        spilled = type(transaction.changes)
        transaction.close()
        return transaction.xid, transaction.end, transaction.time_us, transaction.tags, spilled, changes

    try:
        for message in stream:
            assert outcome(lambda m=message: fed(compiled, m)) == outcome(lambda m=message: fed(python, m))
    finally:
        compiled.close()
        python.close()


class FakeLibpq:
    """PQgetCopyData and PQfreemem by their addresses, over messages that wait."""

    def __init__(self, stream: list[bytes]) -> None:
        waiting, libc = iter(stream), ctypes.CDLL(None)
        libc.malloc.restype = ctypes.c_void_p

        @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p), ctypes.c_int)
        def get(connection: int, buffer: Any, asynchronous: int) -> int:
            message = next(waiting, b"") if (connection, asynchronous) == (7, 1) else b""
            if message:
                buffer[0] = libc.malloc(len(message))
                ctypes.memmove(buffer[0], message, len(message))
            return len(message)

        self._get = get  # lives as long as its address is used
        addresses = [ctypes.cast(function, ctypes.c_void_p).value or 0 for function in (get, libc.free)]
        self.addresses = (7, addresses[0], addresses[1])


@given(
    st.lists(st.sampled_from([*STREAM, b"k" + bytes(17), b"s"]).map(lambda m: m or b"w"), max_size=20),
    st.integers(0, 2000),
)
def test_what_is_at_hand_is_drained_alike(stream: list[bytes], room: int) -> None:
    def drained(assembler: PythonAssembler, *, direct: bool = False) -> list[object]:
        waiting = iter([(len(message), memoryview(message)) for message in stream])
        called, libpq = (lambda _: next(waiting, (0, None))), FakeLibpq(stream)
        out: list[Transaction] = []
        steps: list[object] = []
        for _ in range(len(stream) + 1):
            step = outcome(lambda: assembler.drain(libpq.addresses if direct else called, out, room))
            steps.append((step, [(t.xid, t.end, t.tags, t.changes) for t in out], assembler.in_transaction))
        assembler.close()
        return steps

    expected = [*map(str, drained(PythonAssembler(1 << 20)))]
    assert [*map(str, drained(Assembler(1 << 20)))] == expected
    assert [*map(str, drained(Assembler(1 << 20), direct=True))] == expected


def parsed(line: bytes) -> object:
    plain = native.plain_record(line)
    return Record(*plain) if plain else None


def test_nearly_every_record_of_the_golden_log_is_taken_apart_by_the_compiled_part_itself() -> None:
    assert all(parsed(line) in (None, Record.parse(line)) for line in LINES)
    assert sum(parsed(line) is not None for line in LINES) > len(LINES) / 3


@given(st.data())
def test_damaged_records_are_taken_apart_alike(data: st.DataObject) -> None:
    line = data.draw(st.sampled_from(LINES))
    at = data.draw(st.integers(0, len(line)))
    piece = data.draw(st.sampled_from([b"", b"0", b"01", b'"', b"\\", b"}", b",", b"f", b"\xff", b"Z", b"9" * 16]))
    cut = data.draw(st.integers(0, 3))
    damaged = line[:at] + piece + line[at + cut :]

    found = parsed(damaged)

    assert found is None or found == Record.parse(damaged)
