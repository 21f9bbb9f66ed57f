"""The pgoutput decoder given garbage: typed errors only, whatever the bytes, and no memory for lengths that lie (D1)."""

import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commitlog.cdc.tail.assembler import Assembler
from commitlog.cdc.tail.pgoutput import parse_relation
from commitlog.cdc.tail.row_change import parse_change, parse_truncate, read_insert
from commitlog.cdc.tail.transaction import Transaction
from commitlog.schemas.change import INSERT, UNSENT, RawRow
from commitlog.schemas.errors import DecodeError, Refused
from fixtures.messages import (
    PROJECTION,
    ROW,
    ROWS,
    SEEDS,
    TYPES,
    begin,
    delete,
    insert,
    relation,
    seeds,
    update,
    xlog_data,
)

HUGE = [b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\x00\x00\x00", b"\xff\xff", b"\x00\x00\x00\x00", b"\x00"]


def broken(data: bytes, random: Random) -> bytes:
    """`data` with one fault in it."""
    at = random.randint(0, len(data))
    match random.choice(["flip", "cut", "drop", "extend", "fill", "splice"]):
        case "flip":
            return data[:at] + random.randbytes(1) + data[at + 1 :]
        case "cut":
            return data[:at]
        case "drop":
            return data[:at] + data[at + random.randint(1, 8) :]
        case "extend":
            return data[:at] + random.randbytes(random.randint(1, 8)) + data[at:]
        case "fill":
            huge = random.choice(HUGE)
            return data[:at] + huge + data[at + len(huge) :]
        case _:
            other = random.choice(SEEDS)
            return data[:at] + other[random.randint(25, len(other)) :]


def garbage(of: list[bytes], random: Random) -> bytes:
    """A message with one to three faults in it, behind a header that is whole as a rule."""
    data = random.choice(of)
    for _ in range(random.randint(1, 3)):
        data = data[:25] + broken(data[25:], random) if random.random() < 0.9 else broken(data, random)
    return data


def project(data: bytes) -> None:
    """Read a row change as the worker does: nothing but what its parts document may come out."""
    with suppress(DecodeError, ValueError, Refused):
        PROJECTION.item(parse_change(data), 0)
    if data[25] == INSERT:
        with suppress(DecodeError, ValueError, Refused):
            PROJECTION.insert(read_insert(data, PROJECTION.readers), 0)


@settings(max_examples=300)
@given(seeds, st.sampled_from([0, 1 << 20]))
def test_D1_a_stream_with_garbage_ends_in_a_typed_error_or_in_transactions(seed: int, spill_bytes: int) -> None:
    random = Random(seed)
    for _ in range(5):
        assembler = Assembler(spill_bytes)
        stream = [random.choice(SEEDS) if random.random() < 0.7 else garbage(SEEDS, random) for _ in range(12)]
        with suppress(DecodeError):
            for data in [relation(), begin(), *stream]:
                transaction = assembler.feed(data)
                if transaction is not None:
                    read(transaction)
                    transaction.close()
        assembler.close()


def read(transaction: Transaction) -> None:
    """Read all changes of a transaction as the worker does."""
    relations = set(transaction.relations())
    for of, data in transaction.changes:
        assert relations.issuperset(of if isinstance(of, tuple) else (of,))
        if isinstance(of, tuple):
            assert len(parse_truncate(data).oids) == len(of)
        else:
            project(data)


@settings(max_examples=300)
@given(seeds)
def test_D1_a_garbled_row_change_is_read_or_refused(seed: int) -> None:
    random = Random(seed)
    for _ in range(20):
        data = garbage(ROWS, random)
        if len(data) > 25:
            project(data)


values = st.none() | st.just(UNSENT) | st.sampled_from([*ROW[:], b"\xff", b"", b"9" * 5000])
wrong_rows = st.lists(values, max_size=7)


@settings(max_examples=500)
@given(wrong_rows, st.none() | wrong_rows, st.sampled_from([b"O", b"K"]))
def test_D1_rows_that_are_not_of_their_table_are_refused(new: RawRow, old: RawRow | None, kind: bytes) -> None:
    for data in (insert(new), update(new, old, kind=kind), delete(new, kind=kind)):
        project(data)
        if len(new) != len(TYPES):
            with pytest.raises((DecodeError, ValueError)):
                PROJECTION.item(parse_change(data), 0)


PARSERS: list[Callable[[bytes], object]] = [parse_change, parse_relation, parse_truncate]


@pytest.mark.parametrize("parse", PARSERS)
@settings(max_examples=200)
@given(seed=seeds, noise=st.binary(max_size=60))
def test_D1_each_parser_raises_its_own_error_whatever_the_bytes(
    parse: Callable[[bytes], object], seed: int, noise: bytes
) -> None:
    random = Random(seed)
    for data in (noise, xlog_data(noise), *(garbage(SEEDS, random) for _ in range(10))):
        with suppress(DecodeError):
            parse(data)


@settings(max_examples=200)
@given(seed=seeds, noise=st.binary(max_size=60))
def test_D1_reading_an_insert_raises_what_it_says_whatever_the_bytes(seed: int, noise: bytes) -> None:
    random = Random(seed)
    for data in (noise, xlog_data(noise), *(garbage(SEEDS, random) for _ in range(10))):
        with suppress(DecodeError, ValueError):
            read_insert(data, PROJECTION.readers)


def feed_and_read(assembler: Assembler, data: bytes) -> None:
    """A row change is kept as bytes, and read when its transaction has ended."""
    assembler.feed(data)
    parse_change(data)


@pytest.mark.parametrize("data", [*SEEDS, relation(identity="d")], ids=lambda data: chr(data[25]))
def test_D1_a_message_cut_anywhere_is_refused(data: bytes) -> None:
    for end in range(len(data)):
        assembler = Assembler(1 << 20)
        for before in () if data[25:26] == b"B" else (relation(), begin()):
            assembler.feed(before)
        with pytest.raises(DecodeError):
            feed_and_read(assembler, data[:end])


@pytest.mark.parametrize(
    "data",
    [
        xlog_data(b"I\x00\x00\x40\x00N\xff\xff" + b"t\xff\xff\xff\xff"),
        xlog_data(b"I\x00\x00\x40\x00N\x00\x05t\xff\xff\xff\xff123"),
        xlog_data(b"U\x00\x00\x40\x00O\x00\x05t\x7f\xff\xff\xffN"),
        xlog_data(b"T\xff\xff\xff\xff\x00"),
        xlog_data(b"R\x00\x00\x40\x00public\x00item\x00f\xff\xff"),
        xlog_data(b"M\x01" + bytes(8) + b"commitlog\x00\xff\xff\xff\xff{}"),
    ],
    ids=lambda data: repr(data[25:40]),
)
def test_D1_a_length_that_lies_costs_no_memory(data: bytes) -> None:
    assembler = Assembler(1 << 20)
    assembler.feed(relation())
    assembler.feed(begin())
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError):
            feed_and_read(assembler, data)
        with pytest.raises(DecodeError):
            read_insert(data, PROJECTION.readers)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
