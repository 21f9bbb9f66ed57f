"""The oplog's decoder, on the oplog of a real server, and on entries that only other servers write."""

from collections.abc import Mapping
from typing import Any

import pytest
from bson import Binary, Timestamp, decode, encode
from bson.int64 import Int64

from commitlog.cdc import native
from commitlog.cdc.tail.oplog.assembler import OplogAssembler
from commitlog.cdc.tail.oplog.collection import CollectionRelation
from commitlog.cdc.tail.oplog.definition import Definition
from commitlog.cdc.tail.oplog.diff import apply_update
from commitlog.cdc.tail.oplog.stamps import HOLDS_S
from commitlog.cdc.tail.oplog.transaction import OplogTransaction
from commitlog.cdc.tail.row_change import parse_change, parse_truncate
from commitlog.cdc.tail.spill import Spill
from commitlog.cdc.tail.transaction import Notice
from commitlog.drivers.mongodb_stamp import SPAN
from commitlog.schemas.change import DELETE, INSERT, UPDATE
from commitlog.schemas.errors import DecodeError, HistoryLost
from fixtures.oplog_entries import after_images, assembler, entries, entry, fields_of, position, pre_images

UUID = Binary(bytes(range(16)), 4)
LSID = Binary(b"a session's uuid", 4)
SESSION: dict[str, Any] = {"lsid": {"id": LSID, "uid": b"u" * 32}, "txnNumber": Int64(1)}
NONE = {"ts": Timestamp(0, 0), "t": -1}


def changes(transaction: OplogTransaction) -> list[tuple[str, int, Any, Any]]:
    """Collection, operation, old and new document; the transaction is done with then."""
    got: list[tuple[str, int, Any, Any]] = []
    for relation, data in transaction.changes:
        if isinstance(relation, tuple):
            assert parse_truncate(data).oids == [relation[0].oid]
            got.append((relation[0].name, data[25], None, None))
            continue
        assert isinstance(relation, CollectionRelation)
        op, old, _, new = parse_change(data)
        got.append((relation.name, op, old and old[0], new and new[0]))
    transaction.close()
    return got


def told(into: OplogAssembler, *given: bytes) -> list[list[tuple[str, int, Any, Any]]]:
    """The changes of each transaction, documents decoded."""
    out = [changes(each) for each in into.feed(b"".join(given))]
    return [[(name, op, old and decode(old), new and decode(new)) for name, op, old, new in each] for each in out]


def insert(at: int, number: int, **fields: Any) -> bytes:
    return entry(at, "i", "shop.orders", {"_id": number}, ui=UUID, **fields)


def operation(op: str, o: Mapping[str, Any], namespace: str = "shop.orders") -> dict[str, Any]:
    return {"op": op, "ns": namespace, "ui": UUID, "o": o}


def apply_ops(at: int, *operations: Mapping[str, Any], before: int = 0, **o: Any) -> bytes:
    """An applyOps entry; what begins with `entry_` stands beside its object."""
    beside = {key.removeprefix("entry_"): o.pop(key) for key in [*o] if key.startswith("entry_")}
    previous = {"ts": Timestamp(before >> 32, before & 0xFFFFFFFF), "t": 1} if before else NONE
    fields = {**SESSION, "prevOpTime": previous} | beside
    return entry(at, "c", "admin.$cmd", {"applyOps": list(operations), **o}, **fields)


def decide(at: int, command: str, before: int) -> bytes:
    previous = {"ts": Timestamp(before >> 32, before & 0xFFFFFFFF), "t": 1}
    return entry(at, "c", "admin.$cmd", {command: 1}, prevOpTime=previous, **SESSION)


def stamp(at: int, content: str, **fields: Any) -> bytes:
    return entry(at, "i", "commitlog.stamps", {"_id": LSID, "ctx": content}, **SESSION | fields)


@pytest.mark.parametrize("batch_count", [1, 7, 1000])
def test_the_documents_of_a_real_oplog_become_what_the_server_says_they_become(batch_count: int) -> None:
    into, dump = assembler(), entries()
    out = [
        transaction
        for at in range(0, len(dump), batch_count)
        for transaction in into.feed(b"".join(dump[at : at + batch_count]))
    ]
    after = [
        (transaction.end, new)
        for transaction in out
        for name, op, _, new in changes(transaction)
        if name == "orders" and op in (INSERT, UPDATE)
    ]
    # A change stream does not tell what the command applyOps does.
    assert [each for each in after if decode(each[1])["_id"] != 500] == after_images()
    assert into.held is None
    assert into.position == position(*[int(n) for n in str(fields_of(dump[-1])["ts"])[10:-1].split(",")])


def test_what_is_deleted_is_told_whole_and_an_updates_old_document_too() -> None:
    seen = 0
    for transaction in assembler().feed(b"".join(entries())):
        for name, op, old, new in changes(transaction):
            if name == "orders" and op in (UPDATE, DELETE):
                assert old in pre_images().values()
                assert (new is None) == (op == DELETE)
                seen += 1
    assert seen == len(pre_images())


def test_transactions_of_a_real_oplog_are_whole_and_have_their_tags() -> None:
    out = assembler().feed(b"".join(entries()))
    tagged = {
        decode_tag(t): [(n, op) for n, op, _, _ in changes(t)] for t in out if t.tags and type(t.tags[0]) is bytes
    }
    orders, plain = "orders", "plain"
    assert tagged['{"v":1,"request":"transaction"}'] == [(orders, INSERT), (orders, UPDATE), (orders, DELETE)]
    assert tagged['{"v":1,"request":"chain"}'] == [
        *[(orders, INSERT)] * 5,
        *[(orders, UPDATE)] * 2,
        (plain, INSERT),
        (orders, DELETE),
    ]
    assert tagged['{"v":1,"request":"lone"}'] == [(plain, INSERT)]  # the last of two
    assert len(tagged) == 3


def decode_tag(transaction: OplogTransaction) -> str:
    return transaction.tags[0].decode()


def test_definitions_of_a_real_oplog_are_told_as_notices_and_a_drop_is_a_truncate() -> None:
    out = assembler().feed(b"".join(entries()))
    found = [(Definition.read(tag), t) for t in out for tag in t.tags if isinstance(tag, Notice)]
    names = [(d.command, d.collection, d.to) for d, _ in found]
    assert names[0] == ("create", "orders", "")
    assert found[0][0].images is True
    assert ("collMod", "orders", "") in names
    assert ("renameCollection", "made", "shop.orders2") in names
    assert ("renameCollection", "orders2", "shop.plain") in names
    assert [d.replaced != "" for d, _ in found if d.to == "shop.plain"] == [
        True,
        True,
    ]  # the second is convertToCapped's
    assert names[-1] == ("dropDatabase", "", "")
    dropped = next(t for d, t in found if d.command == "drop" and d.collection == "orders")
    assert changes(dropped) == [("orders", ord("T"), None, None)]
    assert not any(d.collection.startswith("system.") for d, _ in found)


def test_writes_of_unwanted_collections_are_counted_and_nobody_asks_for_their_images() -> None:
    def never(uuid: bytes, first: int, last: int) -> Mapping[Any, bytes]:
        raise AssertionError("asked")

    out = assembler(wanted=lambda database, collection: False, pre_images=never).feed(b"".join(entries()))
    counted = [name for t in out for name, *_ in changes(t)]
    lone = [each["op"] for data in entries() if (each := fields_of(data))["ns"] == "shop.orders"]
    assert counted.count("orders") > len(lone) > 30
    assert not {"stamps", "system.views", "transactions"} & {*counted}


def test_only_the_writes_of_the_one_database_are_counted() -> None:
    into = assembler(database="shop")
    assert into.feed(entry(position(5), "i", "other.orders", {"_id": 1}, ui=UUID)) == []
    assert len(into.feed(insert(position(6), 1))) == 1
    assert into.position == position(6)


def test_images_are_asked_for_in_slices() -> None:
    asked: list[tuple[int, int]] = []
    images = {(position(n), 0): encode({"_id": n}) for n in range(1, 1001)}

    def ask(uuid: bytes, first: int, last: int) -> Mapping[Any, bytes]:
        asked.append((first >> 32, last >> 32))
        return {key: data for key, data in images.items() if uuid == bytes(UUID) and first <= key[0] <= last}

    deletes = [entry(position(n), "d", "shop.orders", {"_id": n}, ui=UUID) for n in range(1, 1001)]
    assert len(assembler(pre_images=ask).feed(b"".join(deletes))) == 1000
    assert asked == [(1, 17), (18, 82), (83, 339), (340, 1000)]
    asked.clear()
    assert len(assembler(pre_images=ask, spill_bytes=100).feed(b"".join(deletes))) == 1000
    assert len(asked) > 100


@pytest.mark.parametrize("compiled", [True, False])
def test_no_more_is_handed_on_at_once_than_fits_into_memory(compiled: bool) -> None:
    """An entry of some bytes may change a document of many."""
    large = encode({"_id": 1, "text": "x" * 3_000_000})
    update = {"$v": 2, "diff": {"u": {"n": 1}}}
    images = {(bytes(UUID), position(n), 0): large for n in range(1, 11)}
    into = assembler(images, compiled=compiled and native.COMPILED, spill_bytes=1 << 24)
    updates = [entry(position(n), "u", "shop.orders", update, ui=UUID) for n in range(1, 11)]
    counts = [len(into.feed(b"".join(updates)))]
    while into.rest:
        with pytest.raises(ValueError, match="rest"):
            into.feed(updates[0])
        counts.append(len(into.feed(b"")))
    assert counts == [3, 3, 3, 1]
    assert into.position == position(10)


def test_a_missing_image_is_lost_history() -> None:
    with pytest.raises(HistoryLost, match=r"shop\.orders that oplog entry 7\.1 of replica set a-set changes"):
        assembler({}).feed(entry(position(7), "d", "shop.orders", {"_id": 1}, ui=UUID))


def test_a_chain_may_end_in_another_batch_and_is_held_until_then() -> None:
    into = assembler(spill_bytes=40)
    first = apply_ops(position(1), operation("i", {"_id": 1}), operation("i", {"_id": 2}), partialTxn=True)
    assert told(into, first, insert(position(2), 9)) == [[("orders", INSERT, None, {"_id": 9})]]
    assert into.held == position(1)
    into.feed(apply_ops(position(3), operation("i", {"_id": 3}), before=position(1), partialTxn=True))
    assert into.held == position(1)
    end = apply_ops(position(4), operation("i", {"_id": 4}), before=position(3), count=4)
    (transaction,) = into.feed(end)
    assert into.held is None
    assert isinstance(transaction.changes, Spill)
    assert (transaction.end, transaction.mark, transaction.xid) == (position(4), position(4), position(4) & 0xFFFFFFFF)
    assert [decode(new)["_id"] for _, _, _, new in changes(transaction)] == [1, 2, 3, 4]


def test_a_prepared_transaction_is_told_when_it_is_committed_and_not_when_it_is_aborted() -> None:
    into = assembler()
    into.feed(
        apply_ops(position(1), operation("i", {"_id": 1}), partialTxn=True)
        + apply_ops(position(2), operation("i", {"_id": 2}), before=position(1), prepare=True, count=2)
    )
    other = {"lsid": {"id": Binary(b"another session!", 4)}}
    into.feed(apply_ops(position(3), operation("i", {"_id": 3}), prepare=True, entry_lsid=other["lsid"]))
    assert into.held == position(1)
    assert told(into, insert(position(4), 4, t=2)) == [[("orders", INSERT, None, {"_id": 4})]]  # also in another term
    (transaction,) = into.feed(decide(position(5), "commitTransaction", position(2)))
    assert transaction.end == position(5)
    assert len(changes(transaction)) == 2
    assert into.held == position(3)
    assert into.feed(decide(position(6), "abortTransaction", position(3))) == []
    assert into.held is None


def test_a_chain_that_a_dead_primary_left_is_dropped() -> None:
    into = assembler()
    into.feed(apply_ops(position(1), operation("i", {"_id": 1}), partialTxn=True))
    into.feed(entry(position(2), "n", "", {"msg": "new primary"}, t=2))
    assert into.held is None
    into.feed(apply_ops(position(3), operation("i", {"_id": 1}), partialTxn=True, entry_t=2))
    into.feed(apply_ops(position(4), operation("i", {"_id": 1}), entry_t=2, entry_txnNumber=Int64(2)))
    assert into.held is None


@pytest.mark.parametrize(
    "given",
    [
        apply_ops(position(2), operation("i", {"_id": 4}), before=position(1), count=4),
        decide(position(2), "commitTransaction", position(1)),
    ],
)
def test_an_end_without_its_beginning_is_an_error(given: bytes) -> None:
    with pytest.raises(DecodeError, match=r"entry 1\.1 was not read.*at oplog entry 2\.1 of replica set a-set"):
        assembler().feed(given)


@pytest.mark.parametrize("delta", [{"u": {"x": 5}}, {"d": {"x": False}}, {"i": {"x": 5}}, {"sx": {"u": {"a": 1}}}])
def test_an_update_of_one_of_two_fields_of_a_name_is_an_error(delta: Any) -> None:
    """Which of them is told nowhere."""
    one, two = encode({"_id": 1, "x": {"a": 2}, "y": 1}), encode({"x": {"a": 3}})
    before = (len(one) + len(two) - 5).to_bytes(4, "little") + one[4:-1] + two[4:]
    with pytest.raises(DecodeError, match="two fields of one name"):
        apply_update(before, encode({"$v": 2, "diff": delta}))
    assert apply_update(before, encode({"$v": 2, "diff": {"u": {"y": 1}}})) == before


def test_inserts_that_a_server_batches_are_one_commit_that_was_not_atomic() -> None:
    into = assembler()
    into.feed(stamp(position(1), "tag"))
    batch = apply_ops(
        position(2), operation("i", {"_id": 1}), operation("i", {"_id": 2}), before=position(1), entry_multiOpType=1
    )
    (transaction,) = into.feed(batch)
    assert (transaction.atomic, transaction.tags, len(changes(transaction))) == (False, [b"tag"], 2)
    assert into.feed(apply_ops(position(3), operation("i", {"_id": 1})))[0].atomic


def test_the_last_stamp_of_a_transaction_is_its_tag_and_says_nothing_of_lone_writes() -> None:
    into = assembler()
    stamps = [operation("i", {"_id": LSID, "ctx": each}, "commitlog.stamps") for each in ("one", "two")]
    (transaction,) = into.feed(apply_ops(position(1), stamps[0], operation("i", {"_id": 1}), stamps[1]))
    assert (transaction.tags, len(changes(transaction))) == ([b"two"], 1)
    assert into.feed(insert(position(2), 1, **SESSION))[0].tags == []


def test_a_stamp_holds_for_the_lone_writes_of_its_session_until_the_next_one_or_until_it_is_old() -> None:
    into = assembler()
    assert into.feed(stamp(position(1), "one")) == []
    assert into.feed(insert(position(2), 1, **SESSION))[0].tags == [b"one"]
    assert into.feed(insert(position(3), 1))[0].tags == []
    other = {"lsid": {"id": Binary(b"another session!", 4)}, "txnNumber": Int64(1)}
    assert into.feed(insert(position(4), 1, **other))[0].tags == []
    into.feed(stamp(position(5), "forged", **other))
    assert into.feed(insert(position(6), 1, **other))[0].tags == []
    assert into.feed(insert(position(1 + HOLDS_S), 1, **SESSION))[0].tags == [b"one"]
    assert into.feed(insert(position(2 + HOLDS_S), 1, **SESSION))[0].tags == []
    into.feed(stamp(position(1000), "two") + stamp(position(1001), ""))
    assert into.feed(insert(position(1002), 1, **SESSION))[0].tags == []


def test_a_stamp_holds_for_the_numbers_of_its_span() -> None:
    into = assembler()
    into.feed(stamp(position(1), "one", txnNumber=Int64(2 * SPAN)))
    for place, (number, tags) in enumerate(((2 * SPAN + 1, [b"one"]), (3 * SPAN - 1, [b"one"]), (3 * SPAN + 1, [])), 2):
        lone = SESSION | {"txnNumber": Int64(number)}
        assert into.feed(insert(position(place), 1, **lone))[0].tags == tags


def test_stamps_of_before_the_position_are_known() -> None:
    into = assembler()
    into.stamps(stamp(position(1), "before") + insert(position(2), 1))
    assert into.feed(insert(position(3), 1, **SESSION))[0].tags == [b"before"]


def test_a_collection_made_anew_is_another_relation() -> None:
    into = assembler()
    anew = entry(position(3), "i", "shop.orders", {"_id": 1}, ui=Binary(b"another uuid 16b", 4))
    relations = [t.relations()[0] for t in into.feed(insert(position(1), 1) + insert(position(2), 2) + anew)]
    assert relations[0] is relations[1]
    assert relations[0] is not relations[2]
    assert isinstance(relations[2], CollectionRelation)
    assert relations[2].uuid == b"another uuid 16b"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (entry(position(1), "km", "shop.orders", {"_id": 1}, ui=UUID), "operation 'km'"),
        (entry(position(1), "c", "shop.$cmd", {"importCollection": 1}), "command 'importCollection'"),
        (entry(position(1), "i", "shop.orders", {"_id": 1}, v=3), "version 3"),
        (insert(position(1), 1, fromMigrate=True), "a migration moves"),
        (entry(position(1), "u", "shop.orders", {"$v": 3, "diff": {}}, ui=UUID), "an update of version 3"),
        (entry(position(1), "u", "shop.orders", {"$v": 2, "diff": {"b": {}}}, ui=UUID), "section b'b'"),
        (b"\x06\0\0\0\0\0", "a name that does not end"),
        (b"\x05\0\0\0", "cut off"),
    ],
)
def test_what_is_not_known_is_an_error_by_name(given: bytes, message: str) -> None:
    images = {(bytes(UUID), position(1), 0): encode({"_id": 1})}
    with pytest.raises(DecodeError, match=message):
        assembler(images).feed(given)


def test_documents_that_move_into_a_collection_that_nobody_wants_are_only_counted() -> None:
    (transaction,) = assembler().feed(entry(position(1), "i", "shop.tmp", {"_id": 1}, ui=UUID, fromMigrate=True))
    assert [name for name, *_ in changes(transaction)] == ["tmp"]
