"""The binlog's decoder, on dumps of real servers."""

import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from commitlog.cdc.tail.binlog.assembler import BinlogAssembler
from commitlog.cdc.tail.binlog.column import BinlogColumn
from commitlog.cdc.tail.binlog.table_map import BinlogRelation
from commitlog.cdc.tail.binlog.transaction import BinlogTransaction, Statement
from commitlog.cdc.tail.row_change import parse_change
from commitlog.schemas.change import DELETE, INSERT, UPDATE
from commitlog.schemas.errors import DecodeError, HistoryLost
from fixtures.binlog_events import FLAVOURS, Flavour, events

CAFE = [b"1", "café".encode(), b"-12.50", b"2026-11-22 10:11:12.345", b"b"]
CHEAP = [b"1", "café".encode(), b"0.05", b"2026-11-22 10:11:12.345", b"b"]
BIG = [b"18446744073709551614", None, None, None, None]
RENAMED = [[number, b"b", None, None, None] for number in (b"10", b"11")]
LONG = [[number, b"a" * 20, None, None, None] for number in (b"10", b"11")]


def assembler(flavour: Flavour, **settings: Any) -> BinlogAssembler:
    return BinlogAssembler(settings.pop("spill_bytes", 1 << 20), flavour=flavour, server_uuid="a-server", **settings)


def feed(into: BinlogAssembler, dump: list[bytes]) -> Iterator[BinlogTransaction]:
    for event in dump:
        transaction = into.feed(event)
        if transaction is not None:
            yield transaction


def changes(transaction: BinlogTransaction) -> list[tuple[Any, ...]]:
    """(operation, old row, new row) of each; the transaction is done with then."""
    got = [(change[0], change[1], change[3]) for change in (parse_change(data) for _, data in transaction.changes)]
    transaction.close()
    return got


def inserts(*rows: list[bytes | None]) -> list[tuple[Any, ...]]:
    return [(INSERT, None, row) for row in rows]


def numbered(number: bytes, name: bytes | None = None) -> list[bytes | None]:
    return [number, name, None, None, None]


def sealed(event: bytes, **header: int) -> bytes:
    """An event with other numbers in its header (`kind`, `flags`, `end`), and with the size and checksum it then has."""
    body = bytearray(event[:-4])
    body[4] = header.get("kind", body[4])
    body[9:13] = (len(event)).to_bytes(4, "little")
    if "end" in header:
        body[13:17] = header["end"].to_bytes(4, "little")
    if "flags" in header:
        body[17:19] = header["flags"].to_bytes(2, "little")
    return bytes(body) + zlib.crc32(body).to_bytes(4, "little")


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_dump_gives_every_transaction_in_order(flavour: Flavour) -> None:
    into = assembler(flavour)
    got = list(feed(into, events(flavour)))

    common = [
        [],  # CREATE TABLE
        [],
        inserts(CAFE, BIG),
        [(UPDATE, CAFE, CHEAP), (DELETE, BIG, None)],  # without what was rolled back to a savepoint
        *([[]] if flavour == "mariadb" else []),  # the whole transaction rolled back
        [(INSERT, None, [b"7"])],  # MyISAM
        [],  # XA PREPARE
        inserts(numbered(b"6")),
        inserts(numbered(b"5", b"xa")),  # XA COMMIT
        [],
        [],  # XA PREPARE, XA ROLLBACK
        inserts(numbered(b"8", b"one")),
        [(INSERT, None, [b"1"])],  # CREATE TABLE … SELECT
    ]
    own = {
        "mysql": [inserts(numbered(b"9")), inserts(numbered(b"10"))],
        "mariadb": [
            [(INSERT, None, row) for row in LONG],
            [(UPDATE, *rows) for rows in zip(LONG, RENAMED, strict=True)],
            [(DELETE, row, None) for row in RENAMED],
            [],
            [],
        ],
    }
    assert [changes(transaction) for transaction in got] == [*common, *own[flavour], []]
    assert [transaction.tags for transaction in got if transaction.tags] == [[b'{"v":1}']]
    assert got[-1].statements == (Statement("shop", "truncate table item"),)
    assert got[-1].end == into.position
    assert not into.in_transaction
    assert not into.held
    ends = [transaction.end for transaction in got]
    assert ends == sorted(set(ends))
    uuid = got[0].gtid.partition(":")[0]
    tagged = [t.gtid for t in got if t.gtid.startswith(f"{uuid}:blue:")]
    assert tagged == ([f"{uuid}:blue:2"] if flavour == "mysql" else [])
    plain = [t for t in got if t.gtid not in tagged]
    assert [t.gtid for t in plain] == [f"{uuid}:{t.xid}" if flavour == "mysql" else f"0-11-{t.xid}" for t in plain]
    numbers = [t.xid for t in plain]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_any_change_of_one_byte_is_found_out(flavour: Flavour) -> None:
    dump = events(flavour)
    for number, event in enumerate(dump):
        at = (number * 7919) % len(event)
        into = assembler(flavour)
        for before in dump[:number]:
            into.feed(before)
        with pytest.raises(DecodeError):
            into.feed(event[:at] + bytes([event[at] ^ 1 << number % 8]) + event[at + 1 :])


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_changed_byte_is_named_with_its_place(flavour: Flavour) -> None:
    dump = events(flavour)
    into = assembler(flavour)
    for event in dump[:5]:
        into.feed(event)
    offset = into.position & (1 << 40) - 1
    with pytest.raises(DecodeError, match=rf"changed on its way.* at {into.file}:{offset} of server a-server"):
        into.feed(dump[5][:-6] + b"\xff\xff" + dump[5][-4:])


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_large_transaction_goes_to_disk_and_says_the_same(flavour: Flavour) -> None:
    large = [changes(t) for t in feed(assembler(flavour, spill_bytes=1), events(flavour))]
    assert large == [changes(t) for t in feed(assembler(flavour), events(flavour))]


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_the_position_stands_still_within_a_transaction(flavour: Flavour) -> None:
    into = assembler(flavour)
    for event in events(flavour):
        before = into.position
        transaction = into.feed(event)
        if into.in_transaction:
            assert into.position == before
        if transaction is not None:
            assert into.position == transaction.end > before


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_offsets_go_on_where_headers_wrap_around(flavour: Flavour) -> None:
    """Headers have 32 bits, and a transaction may be longer; some servers leave the field empty within one."""
    dump = events(flavour)
    wrapped = (1 << 32) - 4000
    into = assembler(flavour)
    ends: list[int] = []
    for number, event in enumerate(dump):
        end = int.from_bytes(event[13:17], "little")
        if event[4] == 4:
            if number:
                break
            into.feed(event)
            into._place.behind += wrapped  # pyright: ignore[reportPrivateUsage]
        else:
            into.feed(sealed(event, end=(end + wrapped) % (1 << 32)))
        ends.append(into.position)
    plain = assembler(flavour)
    assert ends == [(plain.feed(event), plain.position + wrapped)[1] for event in dump[: len(ends)]]
    assert ends[-1] & (1 << 40) - 1 > 1 << 32


def test_a_header_without_a_position_is_counted_by_its_size() -> None:
    dump = events("mysql")
    into, plain = assembler("mysql"), assembler("mysql")
    for event in dump:
        plain.feed(event)
        into.feed(event if event[4] in (4, 15) else sealed(event, end=0))
        assert into.position == plain.position


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_prepared_transaction_is_read_again_from_where_it_began(flavour: Flavour) -> None:
    dump = events(flavour)
    into = assembler(flavour)
    place = next(n for n, event in enumerate(dump) if (into.feed(event), into.held)[1])
    ((xa_id, start),) = into.held.items()
    assert xa_id == "X'61',X'62',7"
    start &= (1 << 40) - 1
    first = next(n for n, event in enumerate(dump) if int.from_bytes(event[13:17], "little") > start)
    again = assembler(flavour)
    rotate = sealed(dump[0][:19] + start.to_bytes(8, "little") + dump[0][27:])
    got = list(feed(again, [rotate, *dump[first : place + 20]]))
    assert again.file == into.file
    assert inserts(numbered(b"5", b"xa")) in [changes(transaction) for transaction in got]


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_commit_of_what_was_prepared_before_is_an_error_unless_it_is_known(flavour: Flavour) -> None:
    dump = events(flavour)
    whole = assembler(flavour)
    place = next(n for n, event in enumerate(dump) if (whole.feed(event), whole.held)[1])
    rest = [dump[0], dump[1], *dump[place + 1 :]]
    with pytest.raises(DecodeError, match=r"X'61',X'62',7 is committed, and was prepared before"):
        list(feed(assembler(flavour), rest))
    assert list(feed(assembler(flavour, known=1 << 60), rest))


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_transaction_that_its_file_does_not_end_was_never_committed(flavour: Flavour) -> None:
    dump = events(flavour)
    cut = next(n for n, event in enumerate(dump) if event[4] in (23, 30)) + 1
    into = assembler(flavour)
    got = list(feed(into, [*dump[:cut], dump[0], dump[1]]))
    assert not into.in_transaction
    assert not any(changes(transaction) for transaction in got)


def dump_of(flavour: Flavour, kind: int) -> tuple[list[bytes], bytes]:
    """The events up to the first of a kind, and that one."""
    dump = events(flavour)
    place = next(n for n, event in enumerate(dump) if event[4] == kind)
    return dump[:place], dump[place]


REFUSED: tuple[tuple[Flavour, int, str], ...] = (
    ("mysql", 34, "without a GTID"),
    ("mysql", 99, "unknown .type 99"),
    ("mysql", 162, "MARIADB_GTID"),
    ("mariadb", 172, "PARTIAL_ROW_DATA"),
    ("mariadb", 33, "GTID .type 33"),
    ("mariadb", 17, "BEGIN_LOAD_QUERY"),
)


@pytest.mark.parametrize(("flavour", "kind", "message"), REFUSED)
def test_an_event_that_is_not_read_here_stops_by_name(flavour: Flavour, kind: int, message: str) -> None:
    before, event = dump_of(flavour, 19)
    into = assembler(flavour)
    assert list(feed(into, before)) is not None
    with pytest.raises(DecodeError, match=message):
        into.feed(sealed(event, kind=kind))


def test_an_unknown_event_that_may_be_ignored_is_passed_over() -> None:
    before, event = dump_of("mysql", 19)
    into = assembler("mysql")
    assert list(feed(into, before))
    assert into.feed(sealed(event, kind=99, flags=0x80)) is None


def test_an_incident_is_lost_history() -> None:
    before, event = dump_of("mysql", 19)
    into = assembler("mysql")
    assert list(feed(into, before))
    body = event[:19] + (1).to_bytes(2, "little") + b"\x04lost" + bytes(4)
    with pytest.raises(HistoryLost, match="lost"):
        into.feed(sealed(body, kind=26))


def query(like: bytes, text: str) -> bytes:
    """A QUERY event of another statement."""
    at = 19 + 13 + int.from_bytes(like[30:32], "little") + like[27] + 1
    return sealed(like[:at] + text.encode() + bytes(4), end=0)


ROW_CHANGING = (
    "insert into item values (1)",
    "  /* a comment */ UPDATE item set price = 1",
    "-- a comment\ndelete from item",
    "/*!80000 replace into item values (1)*/",
    "load data infile 'x' into table item",
    "create table copy as select * from item",
    "create table `a select` (n int) as values row(1)",
    "with a as (select 1) delete from item",
    "select store_a_row()",
)


@pytest.mark.parametrize("text", ROW_CHANGING)
def test_a_statement_in_the_place_of_rows_stops_by_name(text: str) -> None:
    before, begin = dump_of("mysql", 30)
    begin = next(event for event in reversed(before) if event[4] == 2)
    into = assembler("mysql")
    assert list(feed(into, before))
    with pytest.raises(DecodeError, match=r"stands in the binlog instead of the rows.*shop") as caught:
        into.feed(query(begin, text))
    assert "binlog_format" in caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "create table t (n int default 1 comment 'as select', check (n > 1))",
        "alter table item add column x int",
        "create view v as select * from item",
        "truncate item",
        "grant insert on shop.* to app",
        "create trigger a after insert on item for each row delete from copy",
    ],
)
def test_other_statements_are_handed_on(text: str) -> None:
    dump = events("mysql")
    place = next(n for n, event in enumerate(dump) if event[4] == 2)
    into = assembler("mysql")
    assert next(feed(into, [*dump[:place], query(dump[place], text)])).statements[0].text == text


@pytest.mark.parametrize("length", [10, 300, 70_000])
def test_a_compressed_statement_of_any_length_is_opened(length: int) -> None:
    before, event = dump_of("mariadb", 165)
    into = assembler("mariadb")
    assert list(feed(into, before))
    text = b"create table t (n int) comment '" + b"x" * length + b"'"
    size = (len(text).bit_length() + 7) // 8
    at = 19 + 13 + int.from_bytes(event[30:32], "little") + event[27] + 1
    packed = bytes([0x80 | size]) + len(text).to_bytes(size, "big") + zlib.compress(text)
    transaction = into.feed(sealed(event[:at] + packed + bytes(4), end=0))
    assert transaction is not None
    assert transaction.statements[0].text == text.decode()


@pytest.mark.parametrize("damage", [(0, 0x01), (0, 0x91), (1, 0x00), (-6, 0xFF)])
def test_a_compressed_statement_that_is_damaged_is_malformed(damage: tuple[int, int]) -> None:
    before, event = dump_of("mariadb", 165)
    into = assembler("mariadb")
    assert list(feed(into, before))
    at = 19 + 13 + int.from_bytes(event[30:32], "little") + event[27] + 1
    place = at + damage[0] if damage[0] >= 0 else len(event) + damage[0]
    with pytest.raises(DecodeError, match="malformed QUERY_COMPRESSED"):
        into.feed(sealed(event[:place] + bytes([damage[1]]) + event[place + 1 :]))


@pytest.mark.parametrize(
    ("at", "octet", "message"),
    [
        (-5, 0, "without checksums"),
        (19, 3, "version 3"),
        (19 + 56, 18, "headers of 18 bytes"),
        (19 + 57 + 18, 6, "fixed part of 6 bytes"),
    ],
)
def test_a_binlog_of_another_format_stops_by_name(at: int, octet: int, message: str) -> None:
    rotate, event = events("mysql")[:2]
    into = assembler("mysql")
    into.feed(rotate)
    at %= len(event)
    with pytest.raises(DecodeError, match=message):
        into.feed(sealed(event[:at] + bytes([octet]) + event[at + 1 :]))


def test_a_table_says_its_key_and_what_its_columns_are() -> None:
    dump = events("mysql")
    transaction = next(t for t in feed(assembler("mysql"), dump) if t.tags)
    (relation,) = dict.fromkeys(relation for relation, _ in transaction.changes)
    assert isinstance(relation, BinlogRelation)
    assert (relation.table, relation.identity, relation.key, relation.prefixes) == (("shop", "item"), "f", (0,), (0,))
    columns = [column for column in relation.columns if isinstance(column, BinlogColumn)]
    assert [(c.name, c.canonical, c.engine_type, c.nullable, c.charset) for c in columns] == [
        ("id", "decimal", "bigint unsigned", False, ""),
        ("name", "text", "varchar(20)", True, "latin1"),
        ("price", "decimal", "decimal(12,2)", True, ""),
        ("at", "timestamp", "datetime(3)", True, ""),
        ("kind", "enum", "enum('a','b')", True, "utf8mb4"),
    ]
    assert columns[-1].labels == ("a", "b")


@pytest.mark.parametrize("kind", [4, 1, 2])
def test_a_table_map_without_full_metadata_says_what_to_set(kind: int) -> None:
    """Without names, signs, or character sets."""
    before, event = dump_of("mysql", 19)
    body = event[:-4]
    # Behind the names of database and table, five types, their metadata, and a byte of nulls.
    metadata = body.index(b"\4item\0") + 6 + 1 + 5
    start = metadata + 1 + body[metadata] + 1
    optional: dict[int, bytes] = {}
    place = start
    while place < len(body):
        optional[body[place]] = body[place : place + 2 + body[place + 1]]
        place += 2 + body[place + 1]
    left = b"".join(field for number, field in optional.items() if number != kind)
    into = assembler("mysql")
    assert list(feed(into, before))
    with pytest.raises(DecodeError, match="binlog does not say") as caught:
        into.feed(sealed(body[:start] + left + bytes(4)))
    assert "binlog_row_metadata = FULL" in caught.value.hint
