"""The pgoutput decoder: whole transactions in their order, and their changes as the server sent them."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commitlog.cdc.tail.assembler import Assembler
from commitlog.cdc.tail.pgoutput import parse_relation
from commitlog.cdc.tail.pgtypes import converter
from commitlog.cdc.tail.row_change import Reader, parse_change, parse_truncate, read_insert
from commitlog.cdc.tail.spill import Spill
from commitlog.cdc.tail.transaction import Transaction
from commitlog.schemas.change import DELETE, INSERT, UNSENT, UPDATE, RawRow
from commitlog.schemas.errors import DecodeError, LogUnwritable
from commitlog.schemas.position import PG_EPOCH_OFFSET_US
from fixtures.messages import (
    INT4,
    ITEM,
    KEY,
    OTHER,
    ROW,
    ROWS,
    TAG,
    TEXT,
    begin,
    commit,
    delete,
    insert,
    message,
    relation,
    row,
    truncate,
    update,
    xlog_data,
)


def fed(*messages: bytes, spill_bytes: int = 1 << 20) -> list[Transaction]:
    assembler = Assembler(spill_bytes)
    ended = [assembler.feed(data) for data in messages]
    assert not assembler.in_transaction
    return [transaction for transaction in ended if transaction is not None]


def only(*messages: bytes) -> Transaction:
    (transaction,) = fed(begin(), *messages, commit())
    return transaction


def changes_of(transaction: Transaction) -> list[tuple[Any, bytes]]:
    return list(transaction.changes)


@pytest.mark.parametrize(
    ("stream", "why"),
    [
        ([insert(ROW)], "never described"),
        ([relation(), insert(ROW)], "outside a transaction"),
        ([relation(), truncate([ITEM])], "outside a transaction"),
        ([begin(), begin()], "begins inside another"),
        ([commit()], "outside a transaction"),
        ([message(TAG)], "outside a transaction"),
        ([begin(), xlog_data(b"Z")], "unknown pgoutput message b'Z'"),
        ([begin(), xlog_data(b"S")], "unknown pgoutput message b'S'"),
        ([relation(), begin(), truncate([ITEM, 9])], r"never described \(oid 9\)"),
    ],
)
def test_a_message_where_none_may_stand_is_refused(stream: list[bytes], why: str) -> None:
    assembler = Assembler(1 << 20)
    for data in stream[:-1]:
        assembler.feed(data)
    with pytest.raises(DecodeError, match=why):
        assembler.feed(stream[-1])


def test_transactions_come_whole_and_in_order() -> None:
    first, second = fed(
        begin(7, 0x1000, 5),
        relation(),
        *ROWS,
        commit(0x1000, 5),
        xlog_data(b"Y" + bytes(12)),
        begin(8, 0x2000, 6),
        xlog_data(b"O" + bytes(8) + b"\0"),
        ROWS[0],
        commit(0x2000, 6),
    )
    assert (first.xid, first.end, first.time_us) == (7, 0x1000, PG_EPOCH_OFFSET_US + 5)
    assert (second.xid, second.end, second.time_us) == (8, 0x2000, PG_EPOCH_OFFSET_US + 6)
    assert [data for _, data in first.changes] == ROWS
    assert [parse_change(data) for _, data in first.changes] == [
        (INSERT, None, False, ROW),
        (UPDATE, ROW, False, OTHER),
        (UPDATE, KEY, True, OTHER),
        (UPDATE, None, False, [b"1", UNSENT, b"\\x", b"f", None]),
        (DELETE, ROW, False, None),
        (DELETE, KEY, True, None),
    ]
    assert first.relations() == second.relations()


def test_a_clock_before_2000_is_read_as_such() -> None:
    (transaction,) = fed(begin(time_us=-946_684_800_000_000), commit(time_us=-946_684_800_000_000))
    assert transaction.time_us == 0


def test_a_relation_says_its_columns_and_its_identity() -> None:
    described = parse_relation(relation(5, [("id", INT4), ("Größe ü", TEXT)], name='o"d', namespace="", identity="d"))
    assert described.table == ("pg_catalog", 'o"d')
    assert (described.oid, described.identity) == (5, "d")
    assert [(c.name, c.in_identity, c.type_oid, c.modifier) for c in described.columns] == [
        ("id", True, INT4, -1),
        ("Größe ü", False, TEXT, -1),
    ]


@pytest.mark.parametrize("cascade", [False, True])
@pytest.mark.parametrize("restart", [False, True])
def test_truncate_names_every_table_and_its_flags(cascade: bool, restart: bool) -> None:
    data = truncate([ITEM, 5], cascade=cascade, restart_identity=restart)
    transaction = only(relation(), relation(5, name="part"), data)
    ((tables, kept),) = changes_of(transaction)
    assert [table.name for table in tables] == ["item", "part"]
    assert transaction.relations() == [*tables]
    statement = parse_truncate(kept)
    assert (statement.oids, statement.cascade, statement.restart_identity) == ([ITEM, 5], cascade, restart)


def test_all_tags_of_a_transaction_are_kept_and_only_its_own() -> None:
    first, second = fed(
        begin(),
        message(b"1"),
        message(b"other", prefix=b"someone"),
        message(b"other", prefix=b"commitlog.flush"),
        message(b"rolled on", transactional=False),
        message(b""),
        message(b"\x00\xff"),
        commit(),
        message(b"between", transactional=False),
        message(b"between", prefix=b"someone"),
        begin(),
        commit(),
    )
    assert first.tags == [b"1", b"", b"\x00\xff"]
    assert second.tags == []


def test_a_relation_described_anew_holds_for_the_rows_after_it() -> None:
    narrow, wide = insert([b"1"]), insert([b"1", b"x"])
    transaction = only(relation(columns=[("id", INT4)]), narrow, relation(columns=[("id", INT4), ("n", TEXT)]), wide)
    (before, first), (after, second) = changes_of(transaction)
    assert (first, second) == (narrow, wide)
    assert [len(before.columns), len(after.columns)] == [1, 2]
    assert transaction.relations() == [before, after]


small_rows = st.lists(st.binary(max_size=30), min_size=1, max_size=40)


@given(small_rows, st.integers(0, 1500))
def test_a_transaction_that_spills_is_the_same_transaction(values: list[bytes], spill_bytes: int) -> None:
    stream = [relation(), relation(5, name="part")]
    for number, value in enumerate(values):
        stream.append(insert([b"1", value], oid=(ITEM, 5)[number % 2]))
        if number % 7 == 3:
            stream += [truncate([ITEM, 5]), relation(columns=[("id", INT4), (f"n{number}", TEXT)])]
    stream.append(message(TAG))
    (kept,) = fed(begin(), *stream, commit())
    (spilled,) = fed(begin(), *stream, commit(), spill_bytes=spill_bytes)
    raw = sum(len(data) for data in stream if data[25:26] in b"IT")
    assert isinstance(kept.changes, list)
    assert isinstance(spilled.changes, Spill) == (raw > spill_bytes)

    def described(transaction: Transaction) -> list[tuple[Any, bytes]]:
        flat = [(of if isinstance(of, tuple) else (of,), data) for of, data in transaction.changes]
        return [([(r.oid, r.columns) for r in of], data) for of, data in flat]

    assert described(spilled) == described(kept)
    assert described(spilled) == described(kept), "a spill is read as often as asked"
    assert {(r.oid, r.columns) for r in spilled.relations()} == {(r.oid, r.columns) for r in kept.relations()}
    assert spilled.tags == kept.tags == [TAG]
    if isinstance(spilled.changes, Spill):
        assert len(set(map(id, spilled.changes.relations))) == len(spilled.changes.relations), "each is kept once"
    spilled.close()


def test_each_transaction_has_the_bound_to_itself() -> None:
    assembler = Assembler(2 * len(ROWS[0]))
    assembler.feed(relation())
    for count, spills in ((2, False), (3, True), (2, False), (2, False)):
        for data in (begin(), *ROWS[:1] * count):
            assembler.feed(data)
        transaction = assembler.feed(commit())
        assert transaction is not None
        assert isinstance(transaction.changes, Spill) == spills
        assert len(changes_of(transaction)) == count
        transaction.close()


@pytest.mark.parametrize("data", [*ROWS, truncate([ITEM]), relation(), message(TAG)], ids=lambda data: chr(data[25]))
def test_D1_a_message_longer_than_it_says_is_refused(data: bytes) -> None:
    parse: Any = {0x52: parse_relation, 0x54: parse_truncate}.get(data[25], parse_change)
    if data[25:26] == b"M":
        assembler = Assembler(1 << 20)
        assembler.feed(begin())
        parse = assembler.feed
    with pytest.raises(DecodeError, match="length"):
        parse(data + b"\0")


def test_what_is_in_hand_can_be_dropped() -> None:
    assembler = Assembler(0)
    for data in (relation(), begin(), ROWS[0], message(TAG)):
        assembler.feed(data)
    assert assembler.in_transaction
    assembler.close()
    assert not assembler.in_transaction
    assembler.feed(begin())
    transaction = assembler.feed(commit())
    assert transaction is not None
    assert (list(transaction.changes), transaction.tags) == ([], [])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is of Linux")
def test_L4_a_spill_without_room_says_so_and_can_be_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> Any:
        return Path("/dev/full").open("w+b", buffering=4096)

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    spill: Spill[str] = Spill([("item", b"x" * 100)])
    with pytest.raises(LogUnwritable, match="does not fit into"):
        list(spill)
    with pytest.raises(LogUnwritable, match="does not fit into"):
        spill.append(("item", b"x" * 5000))
    spill.close()


READERS: list[Reader] = [("id", converter("int32")), (None, bytes), ("name", converter("text"))]


def test_an_insert_is_read_in_one_pass_and_passes_over_what_is_not_published() -> None:
    assert read_insert(insert([b"5", b"\xff", b"x"]), READERS) == {"id": 5, "name": "x"}
    assert read_insert(insert([b"5", None, None]), READERS) == {"id": 5, "name": None}
    with pytest.raises(DecodeError, match="not of its relation"):
        read_insert(insert([b"5", b"x"]), READERS)
    with pytest.raises(DecodeError, match="an insert that does not log all of its row"):
        read_insert(insert([b"5", UNSENT, b"x"]), READERS)
    with pytest.raises(DecodeError, match="an insert that does not log name"):
        read_insert(insert([b"5", None, UNSENT]), READERS)
    with pytest.raises(DecodeError, match="another length"):
        read_insert(insert([b"5", None, None]) + b"\0", READERS)


raw_rows = st.lists(st.none() | st.just(UNSENT) | st.binary(max_size=20), max_size=8)


@given(raw_rows, st.none() | raw_rows, st.sampled_from([b"O", b"K"]))
def test_what_a_server_sends_of_a_row_is_what_is_read(new: RawRow, old: RawRow | None, kind: bytes) -> None:
    assert parse_change(insert(new)) == (INSERT, None, False, new)
    assert parse_change(update(new, old, kind=kind)) == (UPDATE, old, old is not None and kind == b"K", new)
    assert parse_change(delete(new, kind=kind)) == (DELETE, new, kind == b"K", None)
    assert len(row(new)) == 2 + sum(1 if not isinstance(v, bytes) else 5 + len(v) for v in new)
