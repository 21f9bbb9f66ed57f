"""The compiled reader of documents and the Python it stands in for give the same bytes, and fail alike."""

from collections.abc import Callable
from typing import Any

import pytest
from bson import Binary, DatetimeMS, Decimal128, Int64, Timestamp, encode
from hypothesis import given
from hypothesis import strategies as st

from commitlog.cdc import native
from commitlog.cdc.tail.items import shape_item
from commitlog.cdc.tail.oplog.assembler import OplogAssembler
from commitlog.cdc.tail.oplog.collection import CollectionRelation, row_change, untold_change
from commitlog.cdc.tail.oplog.explode import Paths, explode
from commitlog.cdc.tail.oplog.extended_json import WRAPPERS
from commitlog.cdc.tail.oplog.shapes import project
from commitlog.cdc.tail.oplog.stamps import HOLDS_S
from commitlog.cdc.tail.spill import Spill
from commitlog.drivers.mongodb_stamp import SPAN
from commitlog.schemas.change import DELETE, INSERT, UPDATE
from commitlog.schemas.errors import CommitLogError, DecodeError, HistoryLost
from commitlog.transforms.app_schema import Entity, Field
from fixtures.bson_values import KEYS, ODD, RAW, SCALARS
from fixtures.oplog_entries import after_images, assembler, entries, position

pytestmark = pytest.mark.skipif(not native.COMPILED, reason="no compiled part")

UUID = Binary(bytes(range(16)), 4)
ORDERS = CollectionRelation.of(7, "shop", "orders", bytes(16))


def entity(*fields: Field, additional: str = "drop") -> Entity:
    every = {"_id": Field("_id", "public"), **{each.name: each for each in fields}}
    return Entity("Order", ("shop", "orders"), ("_id",), "", every, additional)


def escaped(key: str) -> str:
    text = key.replace("\\", "\\\\").replace(".", "\\.")
    return f"\\{text}" if text.startswith("$") else text


_PATHS = st.lists(KEYS.filter(bool), min_size=1, max_size=3).map(lambda keys: ".".join(map(escaped, keys)))
_FIELDS = st.builds(
    Field,
    st.sampled_from(["a", "b", "c", "d"]),
    st.sampled_from(["public", "public", "internal"]),
    path=st.one_of(st.just(""), st.just("$"), _PATHS),
    omit=st.lists(_PATHS, max_size=2).map(tuple),
)
_ENTITIES = st.builds(
    lambda fields, additional: entity(*fields, additional=additional),
    st.lists(_FIELDS, max_size=4),
    st.sampled_from(["drop", "public"]),
)
_DOCUMENTS = st.one_of(RAW, ODD)
_CHANGES = st.one_of(
    st.builds(lambda new: row_change(INSERT, ORDERS, None, new), _DOCUMENTS),
    st.builds(lambda old: row_change(DELETE, ORDERS, old, None), _DOCUMENTS),
    st.builds(lambda old, new: row_change(UPDATE, ORDERS, old, new), _DOCUMENTS, _DOCUMENTS),
    st.builds(lambda old: row_change(UPDATE, ORDERS, old, old), _DOCUMENTS),
)


def outcome(call: Callable[[], object]) -> object:
    try:
        return call()
    except (CommitLogError, ValueError, KeyError) as exc:
        return type(exc), str(exc)


def both(of: Entity) -> tuple[Callable[[bytes, int], object], Callable[[bytes, int], object]]:
    projection, paths = project(ORDERS, of, published=of.published("own"))
    given: dict[str, Any] = {"row": lambda data: explode(data, paths), "paths": paths.described}
    return shape_item(projection, compiled=True, **given), shape_item(projection, compiled=False, **given)


@given(_ENTITIES, _CHANGES)
def test_documents_become_items_alike(of: Entity, change: bytes) -> None:
    compiled, python = both(of)
    assert outcome(lambda: compiled(change, 3)) == outcome(lambda: python(change, 3))


@given(_ENTITIES, _CHANGES, st.integers(0, 300), st.binary(min_size=1, max_size=4), st.booleans())
def test_damaged_documents_fail_alike(of: Entity, change: bytes, at: int, damage: bytes, cut: bool) -> None:
    compiled, python = both(of)
    at = 30 + at % (len(change) - 30)
    damaged = change[:at] + damage + (b"" if cut else change[at + len(damage) :])
    assert outcome(lambda: compiled(damaged, 0)) == outcome(lambda: python(damaged, 0))


def test_changes_that_hold_nothing_fail_alike() -> None:
    compiled, python = both(entity())
    for op in (INSERT, UPDATE, DELETE):
        change = untold_change(op, ORDERS)
        assert outcome(lambda change=change: compiled(change, 0)) == outcome(lambda change=change: python(change, 0))


def test_plain_documents_are_taken_by_the_compiled_part_itself() -> None:
    def never(data: bytes) -> bytes:
        raise AssertionError(f"fell back for {data!r}")

    of = entity(Field("all", "public", path="$"), additional="public")
    projection, paths = project(ORDERS, of, published=of.published("own"))
    compiled = shape_item(projection, compiled=True, row=never, paths=paths.described)
    scoped = 0
    for _, document in after_images():
        if b"f()\0" in document:  # code with a scope
            scoped += 1
            continue
        assert compiled(row_change(INSERT, ORDERS, None, document), 0)
        assert compiled(row_change(DELETE, ORDERS, document, None), 0)
        assert compiled(row_change(UPDATE, ORDERS, document, document), 0) is None
    assert 0 < scoped < len(after_images()) / 2


@pytest.mark.parametrize(
    "paths", [(), ((1, None),), (((), None), ((), None)), (((b"a",), 5),), (((b"a",), {b"b": 1}),), (((1,), None),)]
)
def test_paths_that_are_none_are_refused(paths: Any) -> None:
    with pytest.raises(TypeError):
        native.Shaper(b"", ((b'"a":', 0, None),), (0,), lambda data, index: None, paths)


def test_paths_of_an_entity_are_resolved_once() -> None:
    of = entity(Field("a", "public", path="x.y", omit=("z",)))
    assert Paths.of(of, of.published("own")).described == (((b"_id",), None), ((b"x", b"y"), {b"z": None}))


def assembled(into: OplogAssembler, dump: list[bytes], batch_count: int) -> list[object]:
    """All that is known of the transactions of a dump, and how its assembler stands."""
    found: list[object] = []
    given = [b"".join(dump[at : at + batch_count]) for at in range(0, len(dump), batch_count)]
    error: object = None
    while error is None and (given or into.rest):
        try:
            transactions = into.feed(b"" if into.rest else given.pop(0))
        except (DecodeError, HistoryLost) as exc:
            error = type(exc), str(exc)
            break
        for each in transactions:
            in_file = isinstance(each.changes, Spill)
            changes = [(data, [r.table for r in (of if isinstance(of, tuple) else (of,))]) for of, data in each.changes]
            found.append((each.xid, each.end, each.time_us, each.batched, each.tags, in_file, changes))
            each.close()
    standing = into.held, [*into._stamps.held.items()], into.position  # pyright: ignore[reportPrivateUsage]
    into.close()
    return [found, error, standing]


def alike(dump: list[bytes], batch_count: int = 1000, room: int = 1 << 24, **settings: Any) -> list[object]:
    """What both forms say of a dump, which is the same."""
    compiled, python = (assembler(compiled=each, **settings) for each in (True, False))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("commitlog.cdc.tail.oplog.assembler._ROOM_BYTES", room)
        said = assembled(compiled, dump, batch_count)
        assert said == assembled(python, dump, batch_count)
    return said


DUMP = entries()
IMAGES = {
    (bytes(UUID), position(1000 + number), place): encode({"_id": 1, "a": [1, {"b": 2}], "c": "x"})
    for number in range(8)
    for place in range(3)
}
LSIDS = [Binary(bytes([number]) * 16, 4) for number in range(2)]
_OF = st.one_of(st.just({"_id": 1}), st.dictionaries(KEYS, SCALARS, max_size=3))
DELTAS: list[Any] = [
    {"u": {"c": "y"}},
    {"d": {"c": False}, "i": {"new": 1, "newer": {}}},
    {"sa": {"a": True, "u0": 5, "s1": {"u": {"b": 3}}}},
    {"sa": {"a": True, "l": 1}},
    {"sa": {"a": True, "u4": None}},
    {"sa": {"a": True, "l": 3, "u2": 1}},
    {"sa": {"a": True, "s1": {"d": {"b": False}}, "u1": 1}},
    {"sa": {"a": True, "s1": {"d": {"b": False}}, "l": 1}},
    {"sa": {"a": True, "u20000": 1}},
    {"sa": {"a": True, "u9999999": 1}},
    {"sa": {"u": {"b": 1}}},
    {"sc": {"u": {}}},
    {"d": {"none": False}},
    {"u": {"none": 1}, "i": {"c": 1}},
    {"i": {"c": 1}, "u": {"c": 2}},
    {"b": {}},
    {"u": 1},
    {"s": {}},
    {},
]
_DELTAS = st.sampled_from(DELTAS)
_UPDATES = st.one_of(
    _DELTAS.map(lambda diff: {"$v": 2, "diff": diff}),
    _OF,
    st.sampled_from(
        [
            {"$v": 1, "$set": {"c": 5}},
            {"$set": {"a.0": 1}},
            {"$v": 2},
            {"$v": 3, "diff": {}},
            {"$v": 2, "diff": {}, "x": 1},
            {},
        ]
    ),
)
_COLLECTIONS = st.sampled_from(
    [
        "shop.orders",
        "shop.orders",
        "shop.orders",
        "shop.plain",
        "other.x",
        "config.x",
        "shop.system.views",
        "shop",
        "commitlog.stamps",
    ]
)
_STAMPS = st.builds(
    lambda lsid, content: {"_id": lsid, "ctx": content},
    st.sampled_from([*LSIDS, "none"]),
    st.sampled_from(["one", "two", "", None, 5]),
)
_OPERATIONS: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.builds(lambda ns, o: {"op": "i", "ns": ns, "ui": UUID, "o": o}, _COLLECTIONS, _OF),
    st.builds(lambda ns, o: {"op": "u", "ns": ns, "ui": UUID, "o": o, "o2": {"_id": 1}}, _COLLECTIONS, _UPDATES),
    st.builds(lambda ns: {"op": "d", "ns": ns, "ui": UUID, "o": {"_id": 1}}, _COLLECTIONS),
    st.builds(lambda o: {"op": "i", "ns": "commitlog.stamps", "ui": UUID, "o": o}, _STAMPS),
    st.sampled_from(
        [
            {"op": "n", "ns": "", "o": {}},
            {"op": "x", "ns": "shop.orders", "o": {}},
            {"op": "i", "ns": "shop.orders", "o": {"_id": 1}},
        ]
    ),
)
_SESSIONS: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({}),
    st.builds(
        lambda lsid, number: {"lsid": {"id": lsid, "uid": b""}, "txnNumber": number},
        st.sampled_from([*LSIDS, 5]),
        st.sampled_from([0, 1, Int64(5), Int64(SPAN), Int64(SPAN + 1), Int64(-1)]),
    ),
)
_BESIDE = st.one_of(
    st.just({}),
    st.sampled_from(
        [{"fromMigrate": True}, {"fromMigrate": False}, {"v": 3}, {"v": Int64(2)}, {"v": "2"}, {"wall": 5}, {"wall": DatetimeMS(2**60)}, {"t": 2},
         {"multiOpType": 1}, {"prevOpTime": {"ts": Timestamp(1000, 1), "t": 1}}, {"prevOpTime": {"ts": Timestamp(0, 0), "t": 1}}, {"prevOpTime": 1}, {"lsid": 1}]
    ),
)  # fmt: skip
_APPLIED = st.builds(
    lambda operations, beside: {"op": "c", "ns": "admin.$cmd", "o": {"applyOps": operations, **beside}},
    st.lists(_OPERATIONS, max_size=3),
    st.sampled_from([{}, {}, {"count": 3}, {"partialTxn": True}, {"prepare": True}]),
)


@given(
    st.lists(st.tuples(st.one_of(_OPERATIONS, _APPLIED), _SESSIONS, _BESIDE, st.booleans()), max_size=8),
    st.sampled_from([1, 3, 8]),
    st.sampled_from([40, 1 << 20]),
    st.sampled_from(["", "shop"]),
    st.sampled_from([1, 100, 1 << 24]),
)
def test_entries_become_transactions_alike(
    given_entries: list[Any], batch_count: int, spill_bytes: int, database: str, room: int
) -> None:
    dump: list[bytes] = []
    for number, (operation, session, beside, timed) in enumerate(given_entries):
        wall = {"wall": DatetimeMS(1_795_383_960_123)} if timed else {}
        told = {"ts": Timestamp(1000 + number, 1), "t": 1, "v": 2, **wall}
        dump.append(encode({**session, **operation, **told, **beside}))
    alike(dump, batch_count, images=IMAGES, spill_bytes=spill_bytes, database=database, room=room)


@pytest.mark.parametrize("again", [{}, {"c": "again"}, {"_id": 2}])
def test_each_delta_is_applied_alike(again: Any) -> None:
    """The first entry makes the collection known to the compiled part, and has the images at hand. Documents may have two fields of a name."""
    orders = {"ns": "shop.orders", "ui": UUID}
    one, two = encode({"_id": 1, "a": [1, {"b": 2}], "c": "x"}), encode(again)
    image = (len(one) + len(two) - 5).to_bytes(4, "little") + one[4:-1] + two[4:]
    images = dict.fromkeys(IMAGES, image)
    for delta in (*DELTAS, {"d": {"_id": False}}, {"d": {"c": False}, "i": {"_id": 1}}):
        told = [{"op": "d", "o": {"_id": 1}}, {"op": "u", "o": {"$v": 2, "diff": delta}}]
        dump = [encode({**each, **orders, "ts": Timestamp(1000 + n, 1), "v": 2}) for n, each in enumerate(told)]
        alike(dump, images=images)


@pytest.mark.parametrize("number", [0, 1, Int64(SPAN - 1), Int64(SPAN), Int64(-1), None])
@pytest.mark.parametrize("seconds", [1, HOLDS_S, HOLDS_S + 1])
def test_a_stamp_holds_alike(number: Any, seconds: int) -> None:
    session = {"lsid": {"id": LSIDS[0]}}
    insert = {"op": "i", "ns": "shop.orders", "ui": UUID, "o": {"_id": 1}}
    stamp = {"op": "i", "ns": "commitlog.stamps", "o": {"_id": LSIDS[0], "ctx": "tag"}, **session, "txnNumber": 1}
    other = {**stamp, "o": {"_id": LSIDS[0], "ctx": "other"}}
    lone = {**insert, **session, **({} if number is None else {"txnNumber": number})}
    last = {"op": "c", "ns": "admin.$cmd", "o": {"applyOps": [insert, other, insert]}}
    told = [(0, stamp), (0, insert), (0, {**stamp, "o": {"ctx": 1}}), (0, stamp), (seconds, lone), (seconds, last)]
    alike([encode({**each, "ts": Timestamp(1000 + at, n), "v": 2}) for n, (at, each) in enumerate(told, start=1)])


def test_numbers_and_keys_are_written_alike() -> None:
    compiled, python = both(entity(Field("a", "public"), Field("all", "public", path="$")))
    digits = [f"{sign}{number}" for sign in ("", "-") for number in (0, 5, 100, 10**34 - 1)]
    decimals = [Decimal128(f"{each}E{exponent}") for each in digits for exponent in range(-45, 3)]
    doubles = [
        float(f"{each}e{exponent}") for each in ("1", "1.5", "-123456789012345.6") for exponent in range(-30, 30)
    ]
    ends = [Int64(-(2**63)), -(2**31), DatetimeMS(-1), Timestamp(2**32 - 1, 2**32 - 1)]
    documents: list[dict[str, Any]] = [{"": value} for value in (*decimals, *doubles, *ends)]
    documents += [{name.decode(): 1, "$oid": 2} for name in WRAPPERS]
    changes = [row_change(INSERT, ORDERS, None, encode({"_id": 1, "a": each})) for each in documents]
    one, two = encode({"_id": 1, "a": 1}), encode({"a": 2})
    twice = (len(one) + len(two) - 5).to_bytes(4, "little") + one[4:-1] + two[4:]
    for change in (*changes, row_change(INSERT, ORDERS, None, twice)):
        assert compiled(change, 0) == python(change, 0)


@given(
    st.integers(0, 500),
    st.integers(0, 500),
    st.binary(min_size=1, max_size=6),
    st.sampled_from(["over", "into", "cut"]),
)
def test_damaged_entries_fail_alike(place: int, at: int, damage: bytes, how: str) -> None:
    data = DUMP[place % len(DUMP)]
    at = 4 + at % (len(data) - 5)
    rest = {"over": data[at + len(damage) :], "into": data[at:], "cut": b"\0"}[how]
    damaged = data[4:at] + damage + rest
    whole = (len(damaged) + 4).to_bytes(4, "little") + damaged
    alike([*DUMP[:3], *DUMP[max(0, place % len(DUMP) - 2) : place % len(DUMP)], whole, *DUMP[-3:]], 4)


@pytest.mark.parametrize("batch_count", [1, 5, 1000])
def test_a_real_oplog_is_read_alike(batch_count: int) -> None:
    alike(DUMP, batch_count)
    alike(DUMP, batch_count, database="shop", spill_bytes=100)
    alike(DUMP[5:], batch_count, room=500)


@given(st.lists(st.binary(max_size=60), max_size=3))
def test_bytes_that_are_no_entries_fail_alike(stream: list[bytes]) -> None:
    alike([(len(data) + 5).to_bytes(4, "little") + data + b"\0" for data in stream] + stream)


def test_plain_entries_are_taken_by_the_compiled_part_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    lsid = {"lsid": {"id": LSIDS[0]}, "txnNumber": Int64(1)}
    orders = {"ns": "shop.orders", "ui": UUID}
    stamp = {"op": "i", "ns": "commitlog.stamps", "o": {"_id": LSIDS[0], "ctx": "tag"}}
    plain: list[dict[str, Any]] = [
        {
            "op": "u",
            **orders,
            "o": {"$v": 2, "diff": {"u": {"c": "y"}, "sa": {"a": True, "u0": 5, "s1": {"i": {"z": 3}}}}},
        },
        {**stamp, **lsid},
        {"op": "i", **orders, "o": {"_id": 5}, **lsid},
        {"op": "u", **orders, "o": {"_id": 1, "whole": 1}},
        {"op": "d", **orders, "o": {"_id": 1}},
        {"op": "n", "ns": "", "o": {"msg": "periodic noop"}},
        {"op": "c", "ns": "admin.$cmd", "o": {"applyOps": [{"op": "i", **orders, "o": {"_id": 7}}, stamp]}, **lsid},
    ]
    dump = [
        encode({**each, "ts": Timestamp(1000 + n, 1), "t": 1, "v": 2, "wall": DatetimeMS(5)})
        for n, each in enumerate(plain)
    ]
    met = [{"op": "d", **orders, "o": {}}, stamp]
    known = [encode({**each, "ts": Timestamp(1000, 1), "v": 2}) for each in met]
    read: list[bytes] = []
    into = assembler(IMAGES)
    python = into._read  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(into, "_read", lambda data: (read.append(data), python(data))[1])
    out = into.feed(b"".join(known + dump))
    assert [data for data in read if data != dump[-1]] == known  # the last one's timestamp, to ask for images up to it
    assert [each.tags for each in out[1:]] == [[], [b"tag"], [], [], [b"tag"]]
    assert into.position == position(1006)
