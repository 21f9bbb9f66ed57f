"""A fork in MongoDB."""

import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from bson import Decimal128, Int64
from pymongo import MongoClient
from pymongo.database import Database

from commitlog.cdc.fork.mongodb.target import Target
from commitlog.cdc.fork.state import advance, take_over
from commitlog.cdc.fork.targets import open_target
from commitlog.cdc.servers.mongodb import MongoServer
from commitlog.cdc.tail.mongodb_catalog import Catalog
from commitlog.schemas.errors import Locked, Refused
from commitlog.schemas.shape import Column
from fixtures.command import command
from fixtures.fork_log import Fork, MadeLog, column

ORDER = (
    column("id", "int64"),
    column("status"),
    column("total", "decimal", "numeric(12,2)"),
    column("note", nullable=True),
)


def documents(url: str, name: str) -> list[dict[str, Any]]:
    """What is in a collection of the URL's database, by _id."""
    with MongoClient[dict[str, Any]](url, uuidRepresentation="standard", tz_aware=True) as client:
        return list(client.get_default_database()[name].find().sort("_id"))


@contextmanager
def owner(url: str) -> Iterator[Database[dict[str, Any]]]:
    """The fork's database, for what its owner does."""
    with MongoClient[dict[str, Any]](url) as client:
        yield client.get_default_database()


def run(*arguments: str) -> str:
    """A command, and what it prints."""
    done = command(*arguments, folder=Path.cwd(), environment=os.environ)
    assert done.returncode == 0, done.stderr
    return done.stdout


def row(id_: int, status: str = "new", total: str = "1.50", note: str | None = None) -> dict[str, Any]:
    return {"id": str(id_), "status": status, "total": total, "note": note}


@pytest.fixture
def fork(made_log: MadeLog, mongodb_database: str) -> Fork:
    made_log.shape("Order", *ORDER)
    return Fork(made_log, mongodb_database)


def test_rows_become_documents_and_follow_their_changes(fork: Fork) -> None:
    log = fork.log
    log.snapshot("Order", row(1), row(2))
    fork.sync()
    log.commit(log.insert("Order", row(3, note="é")), log.update("Order", "1", {"status": "new"}, {"status": "paid"}))
    log.commit(log.delete("Order", row(2)), log.rekey("Order", "3", "7", {"note": "é"}, {"note": None}))
    fork.sync()
    assert documents(fork.url, "order") == [
        {"_id": Int64(1), "status": "paid", "total": Decimal128("1.50"), "note": None},
        {"_id": Int64(7), "status": "new", "total": Decimal128("1.50"), "note": None},
    ]
    assert fork.conflicts() == []
    fork.sync()


def test_documents_exchange_their_keys_unless_they_hold_what_the_log_does_not_tell(fork: Fork) -> None:
    log = fork.log
    log.snapshot("Order", *(row(n, str(n)) for n in range(1, 8)))
    fork.sync()
    with owner(fork.url) as database:
        database["order"].update_one({"_id": 3}, {"$set": {"mine": 1}})
        database["order"].update_one({"_id": 1}, {"$unset": {"note": ""}})
        database["order"].delete_one({"_id": 7})
    for ring in (("1", "2"), ("3", "4"), ("5", "7", "6")):
        log.commit(*(log.rekey("Order", key, ring[(at + 1) % len(ring)]) for at, key in enumerate(ring)))
    fork.sync()
    held = {each["_id"]: (each["status"], each.get("mine")) for each in documents(fork.url, "order")}
    assert held == {1: ("2", None), 2: ("1", None), 3: ("3", 1), 4: ("4", None), 5: ("6", None), 7: ("5", None)}
    assert {(c["kind"], c["key"]["id"]) for c in fork.conflicts()} == {
        ("unique", "3"),
        ("unique", "4"),
        ("update/delete", "6"),
    }


def test_what_a_fork_remembers_is_no_collection_of_an_app(fork: Fork) -> None:
    fork.sync()
    with closing(Catalog(fork.url)) as catalog:
        assert [each.name for each in catalog.collections(catalog.address.database)] == ["order"]


TYPES = {
    "bool": (column("x", "bool"), True, True),
    "smallint": (column("x", "int16"), -5, -5),
    "int": (column("x", "int32"), 2**31 - 1, 2**31 - 1),
    "bigint": (column("x", "int64"), str(2**63 - 1), Int64(2**63 - 1)),
    "unsigned": (column("x", "decimal", "bigint unsigned"), str(2**64 - 1), Decimal128(str(2**64 - 1))),
    "numeric": (column("x", "decimal", "numeric(34,4)"), "1200.5000", Decimal128("1200.5000")),
    "nan": (column("x", "decimal", "numeric(10,2)"), "NaN", Decimal128("NaN")),
    "unlimited": (column("x", "decimal", "numeric"), "1" * 60 + ".50", "1" * 60 + ".50"),
    "real": (column("x", "float32", "real"), "0.1", 0.1),
    "double": (column("x", "float64", "double precision"), "-0", -0.0),
    "infinity": (column("x", "float64", "double precision"), "-Infinity", float("-inf")),
    "text": (column("x"), "a\0$b.c", "a\0$b.c"),
    "uuid": (column("x", "uuid"), "01234567-89ab-cdef-0123-456789abcdef", UUID("01234567-89ab-cdef-0123-456789abcdef")),
    "bytea": (column("x", "bytes"), "AAEC", b"\0\1\2"),
    "date": (column("x", "date"), "2024-02-29", "2024-02-29"),
    "datetime": (column("x", "timestamp", "timestamp(3) without time zone"), "2024-02-29T10:11:12.5", datetime(2024, 2, 29, 10, 11, 12, 500000, tzinfo=UTC)),
    "moment": (column("x", "instant", "timestamp(0) with time zone"), "2024-02-29T10:11:12Z", datetime(2024, 2, 29, 10, 11, 12, tzinfo=UTC)),
    "microseconds": (column("x", "instant", "timestamp with time zone"), "2024-02-29T10:11:12.123456Z", "2024-02-29T10:11:12.123456Z"),
    "json": (column("x", "jsonb"), '{"a": 1.0, "a": 2}', '{"a": 1.0, "a": 2}'),
    "enum": (column("x", "enum", "public.mood", labels=("sad", "ok")), "ok", "ok"),
    "inet": (column("x", "exact", "inet"), "10.0.0.1/8", "10.0.0.1/8"),
}  # fmt: skip


def test_every_type_of_a_table_has_its_type_in_documents(made_log: MadeLog, mongodb_database: str) -> None:
    columns = [replace(one, field=name) for name, (one, _, _) in TYPES.items()]
    made_log.shape("T", column("id", "int32"), *columns)
    told = {name: value for name, (_, value, _) in TYPES.items()}
    made_log.commit(made_log.insert("T", {"id": 1, **told}))
    fork = Fork(made_log, mongodb_database)
    fork.sync()
    (found,) = documents(fork.url, "t")
    for name, (_, _, expected) in TYPES.items():
        assert (type(found[name]), str(found[name])) == (type(expected), str(expected)), name
    # As what it was, each is told apart from anything else: another change finds it so.
    made_log.commit(made_log.delete("T", {"id": 1, **told}))
    fork.sync()
    assert (documents(fork.url, "t"), fork.conflicts()) == ([], [])


def test_a_value_that_has_no_place_is_a_conflict(made_log: MadeLog, mongodb_database: str) -> None:
    made_log.shape("T", column("id", "int32"), column("at", "timestamp", "timestamp(0) without time zone"))
    made_log.commit(
        *[
            made_log.insert("T", {"id": n, "at": at})
            for n, at in enumerate(("2024-01-01T00:00:00", "0000-00-00T00:00:00"))
        ]
    )
    fork = Fork(made_log, mongodb_database)
    fork.sync()
    assert [each["_id"] for each in documents(fork.url, "t")] == [0]
    assert (fork.conflict()["kind"], fork.conflict()["key"]) == ("value", {"id": 1})


def test_a_key_of_several_columns_is_an_embedded_document(made_log: MadeLog, mongodb_database: str) -> None:
    made_log.shape("Line", column("n", "int32"), column("what"), column("order_id", "int64"), key=("order_id", "n"))
    line = {"n": 1, "what": "tea", "order_id": "5"}
    made_log.commit(made_log.insert("Line", line))
    key = {"order_id": "5", "n": 1}
    made_log.commit(made_log.update("Line", key, {"what": "tea"}, {"what": "jam"}))
    made_log.commit(made_log.rekey("Line", key, {"order_id": "5", "n": 2}))
    fork = Fork(made_log, mongodb_database)
    fork.sync()
    (found,) = documents(fork.url, "line")
    assert (list(found["_id"].items()), found["what"]) == ([("order_id", Int64(5)), ("n", 2)], "jam")
    assert fork.conflicts() == []


def test_what_the_owner_changed_stays_and_is_a_conflict_where_upstream_changes_it_too(fork: Fork) -> None:
    log = fork.log
    log.snapshot("Order", row(1), row(2), row(3))
    fork.sync()
    with owner(fork.url) as db:
        db.order.update_one({"_id": 1}, {"$set": {"status": "mine", "mine": [1, {"a": 1}]}})
        db.order.delete_one({"_id": 2})
    log.commit(
        log.update("Order", "1", {"status": "new", "note": None}, {"status": "paid", "note": "n"}),
        log.update("Order", "2", {"status": "new"}, {"status": "paid"}),
        log.update("Order", "3", {"status": "new"}, {"status": "paid"}),
    )
    fork.sync()
    assert [(c["kind"], c["key"]["id"], c["ours"], c["theirs"]) for c in fork.conflicts()] == [
        ("update/update", "1", "mine", "paid"),
        ("update/delete", "2", None, {"status": "paid"}),
    ]
    first, third = documents(fork.url, "order")
    assert (first["status"], first["note"], first["mine"], third["status"]) == ("mine", "n", [1, {"a": 1}], "paid")
    with owner(fork.url) as db:
        db.order.update_one({"_id": 1}, {"$set": {"status": "paid"}})
    log.commit(log.update("Order", "1", {"status": "paid"}, {"status": "sent"}))
    fork.sync()
    assert [c["kind"] for c in fork.conflicts()] == ["update/delete"]


def test_a_value_of_another_type_is_another_value(fork: Fork) -> None:
    log = fork.log
    log.snapshot("Order", row(1))
    fork.sync()
    with owner(fork.url) as db:
        db.order.update_one({"_id": 1}, {"$set": {"total": 1.5}})
    log.commit(log.update("Order", "1", {"total": "1.50"}, {"total": "2.00"}))
    fork.sync()
    assert (fork.conflict()["field"], fork.conflict()["ours"]) == ("total", '{"$numberDouble":"1.5"}')


def test_what_an_index_or_a_validator_refuses_is_a_conflict_and_the_rest_of_its_commit_is_applied(fork: Fork) -> None:
    log = fork.log
    log.snapshot("Order", row(1, "a"), row(2, "b"))
    fork.sync()
    with owner(fork.url) as db:
        db.order.create_index("status", unique=True)
        db.command("collMod", "order", validator={"note": {"$ne": "bad"}})
    log.commit(
        log.update("Order", "1", {"note": None}, {"note": "before"}),
        log.insert("Order", row(3, "a")),
        log.insert("Order", row(4, "d", note="bad")),
        log.update("Order", "2", {"status": "b"}, {"status": "a"}),
        log.insert("Order", row(5, "e")),
    )
    fork.sync()
    assert {(c["key"]["id"], c["kind"]) for c in fork.conflicts()} == {("2", "unique"), ("3", "unique"), ("4", "check")}
    assert all(c["error"] for c in fork.conflicts())
    assert [(d["_id"], d["status"], d["note"]) for d in documents(fork.url, "order")] == [
        (1, "a", "before"),
        (2, "b", None),
        (5, "e", None),
    ]


def test_a_document_that_is_changed_while_it_is_applied_makes_it_begin_again(
    fork: Fork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is decided about a document holds only while the document is what it was."""
    log = fork.log
    log.snapshot("Order", row(1), row(2))
    fork.sync()
    written = Target.write
    met: list[str] = []

    def write(target: Target, collection: str, writes: Any) -> None:
        if not met:
            met.append(collection)
            with owner(fork.url) as db:
                db.order.update_one({"_id": 2}, {"$set": {"status": "mine"}})
        written(target, collection, writes)

    monkeypatch.setattr(Target, "write", write)
    log.commit(*[log.update("Order", str(n), {"status": "new"}, {"status": "paid"}) for n in (1, 2)])
    fork.sync()
    assert [d["status"] for d in documents(fork.url, "order")] == ["paid", "mine"]
    assert fork.conflict()["ours"] == "mine"


def test_what_was_refused_is_undone_alone_while_others_change_documents(
    fork: Fork, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = fork.log
    log.snapshot("Order", row(1), row(2, "taken"))
    fork.sync()
    with owner(fork.url) as db:
        db.order.create_index("status", unique=True)
    started = Target._start
    met: list[bool] = []

    def start(target: Target) -> None:
        # Between the transaction that the server gave up and the next.
        if len(met) == 1:
            with owner(fork.url) as db:
                db.order.update_one({"_id": 1}, {"$set": {"note": "mine"}})
        met.append(True)
        started(target)

    monkeypatch.setattr(Target, "_start", start)
    log.commit(log.update("Order", "1", {"note": None}, {"note": "theirs"}))
    log.commit(log.insert("Order", row(3, "taken")))
    fork.sync()
    assert documents(fork.url, "order")[0]["note"] == "mine"
    assert {(c["kind"], c["key"]["id"]) for c in fork.conflicts()} == {("update/update", "1"), ("unique", "3")}


def test_the_plan_says_what_is_lost(made_log: MadeLog, mongodb_database: str) -> None:
    made_log.shape(
        "Odd",
        column("id", "int32"),
        column("a.b"),
        column("n", "decimal", "numeric"),
        column("at", "instant", "timestamp with time zone"),
    )
    shown = run("fork", "plan", made_log.url, "--into", mongodb_database)
    for part in (
        "make collections _commitlog.…",
        "as its digits have no limit",
        "milliseconds only",
        "$getField",
        "becomes _id",
    ):
        assert part in shown, shown
    assert documents(mongodb_database, "odd") == []


def test_names_with_dollars_and_dots_are_names(made_log: MadeLog, mongodb_database: str) -> None:
    made_log.shape("Odd", column("id", "int32"), column("$set"), column("a.b"), column("$a.b.$"))
    made_log.commit(made_log.insert("Odd", {"id": 1, "$set": "1", "a.b": "2", "$a.b.$": "3"}))
    made_log.commit(made_log.update("Odd", 1, {"$set": "1", "a.b": "2"}, {"$set": "4", "a.b": "5"}))
    fork = Fork(made_log, mongodb_database)
    fork.sync()
    assert documents(fork.url, "odd") == [{"_id": 1, "$set": "4", "a.b": "5", "$a.b.$": "3"}]
    assert fork.conflicts() == []


def test_a_collection_with_documents_is_refused_and_an_empty_one_is_taken(fork: Fork) -> None:
    with owner(fork.url) as db:
        db.order.insert_one({"_id": 1})
        with pytest.raises(Refused, match="holds documents"):
            fork.sync()
        db.order.delete_many({})
    fork.log.snapshot("Order", row(1))
    fork.sync()
    assert len(documents(fork.url, "order")) == 1


def test_a_collection_whose_keys_are_equal_by_a_collation_is_refused(fork: Fork) -> None:
    with owner(fork.url) as db:
        db.create_collection("order", collation={"locale": "en", "strength": 1})
    with pytest.raises(Refused, match="collation"):
        fork.sync()


def test_drop_takes_what_the_fork_made_and_leaves_the_rest(fork: Fork) -> None:
    fork.log.shape("Own", column("id", "int32"))
    with owner(fork.url) as db:
        db.create_collection("own")
        db.create_collection("other")
    fork.log.snapshot("Order", row(1))
    fork.sync()
    run("fork", "drop", "--into", fork.url, "--yes")
    with owner(fork.url) as db:
        assert sorted(db.list_collection_names()) == ["other", "own"]


def test_one_process_works_on_a_fork(fork: Fork) -> None:
    fork.log.snapshot("Order", row(1))
    fork.sync()
    with open_target(fork.url) as first, open_target(fork.url) as second:
        first.lock()
        with pytest.raises(Locked):
            second.lock()
        first.close()
        second.lock()


def test_a_process_that_was_taken_over_writes_nothing(fork: Fork) -> None:
    fork.log.snapshot("Order", row(1))
    fork.sync()
    with open_target(fork.url) as old, open_target(fork.url) as new:
        before = take_over(old.memory, "x")
        take_over(new.memory, "x")
        with pytest.raises(Locked), old.transaction():
            advance(old.memory, before, epoch=1, head=fork.log.head)


def test_labels_and_names_of_tables_follow_upstream(made_log: MadeLog, mongodb_database: str) -> None:
    def mood(*labels: str) -> Column:
        return column("mood", "enum", "public.mood", labels=labels)

    made_log.shape("P", column("id", "int32"), mood("sad", "ok"))
    made_log.commit(made_log.insert("P", {"id": 1, "mood": "ok"}))
    fork = Fork(made_log, mongodb_database)
    fork.sync()
    made_log.shape(
        "P", column("id", "int32"), mood("sad", "fine"), column("more", nullable=True), table="public.people"
    )
    made_log.commit(made_log.update("P", 1, {"mood": "fine"}, {"mood": "sad"}))
    fork.sync()
    assert documents(fork.url, "people") == [{"_id": 1, "mood": "sad"}]
    assert (documents(fork.url, "p"), fork.conflicts()) == ([], [])


def test_a_fork_needs_no_more_than_to_read_and_write_its_own_database(
    fork: Fork, mongodb: MongoServer, new_mongodb_user: Callable[..., str]
) -> None:
    name = fork.url.split("?")[0].rpartition("/")[2]
    fork.url = new_mongodb_user(mongodb, roles=[{"role": "readWrite", "db": name}], database=name)
    fork.log.snapshot("Order", row(1))
    fork.sync()
    assert len(documents(fork.url, "order")) == 1


def test_a_user_without_the_privilege_is_told_so(
    fork: Fork, mongodb: MongoServer, new_mongodb_user: Callable[..., str]
) -> None:
    name = fork.url.split("?")[0].rpartition("/")[2]
    fork.url = new_mongodb_user(mongodb, roles=[{"role": "read", "db": name}], database=name)
    with pytest.raises(Refused, match="may not do") as caught:
        fork.sync()
    assert "readWrite" in caught.value.hint


def test_a_conflict_on_values_larger_than_a_document_takes_stops_nothing(fork: Fork) -> None:
    log = fork.log
    large = "x" * 9_000_000
    log.commit(log.insert("Order", row(1, "a", note=large)))
    fork.sync()
    with owner(fork.url) as db:
        db.order.update_one({"_id": 1}, {"$set": {"note": "mine" + large}})
    log.commit(log.update("Order", "1", {"note": large}, {"note": "y" + large}))
    log.commit(log.insert("Order", row(2)))
    fork.sync()
    assert "too many to be kept" in fork.conflict()["theirs"]
    assert [each["_id"] for each in documents(fork.url, "order")] == [1, 2]


def test_a_url_that_prefers_secondaries_is_read_from_the_primary_all_the_same(fork: Fork) -> None:
    fork.url += "&readPreference=secondaryPreferred&w=1"
    fork.log.commit(fork.log.insert("Order", row(1)))
    fork.sync()
    assert len(documents(fork.url, "order")) == 1


def test_a_document_too_large_is_a_conflict(made_log: MadeLog, mongodb_database: str) -> None:
    made_log.shape("T", column("id", "int32"), column("a"), column("b"))
    made_log.commit(made_log.insert("T", {"id": 1, "a": "x" * 9_000_000, "b": "y" * 9_000_000}))
    made_log.commit(made_log.insert("T", {"id": 2, "a": "x", "b": "y"}))
    fork = Fork(made_log, mongodb_database)
    fork.sync()
    assert ([each["_id"] for each in documents(fork.url, "t")], fork.conflict()["kind"]) == ([2], "value")
