"""The log of a MongoDB, forked into MongoDB, PostgreSQL and MySQL."""

import secrets
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from bson import (
    Binary,
    Code,
    Decimal128,
    Int64,
    MaxKey,
    MinKey,
    ObjectId,
    Regex,
    Timestamp,
    decode,
    encode,
)
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from bson.dbref import DBRef
from bson.raw_bson import RawBSONDocument
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo import MongoClient

from commitlog.cdc.fork.equality import compare
from commitlog.cdc.fork.follow import Follower
from commitlog.cdc.fork.growth import create
from commitlog.cdc.fork.plan import make_plan
from commitlog.cdc.fork.targets import open_target
from commitlog.cdc.log.home import open_reader
from commitlog.cdc.servers.mongodb import MongoServer
from commitlog.cdc.tail.oplog.explode import Paths, explode_document
from commitlog.cdc.tail.oplog.extended_json import text_of
from commitlog.schemas.errors import Refused
from commitlog.transforms.app_schema import AppSchema
from commitlog.transforms.app_schema_reader import parse
from fixtures.bson_values import RAW
from fixtures.fork_log import Fork, MadeLog, column
from fixtures.oplog_source import OplogSource

SCHEMA = """
schema: commitlog.app/v1
app: shop
database: main
default: true
entities:
  Doc:
    from: shop.docs
    key: [_id]
    fields:
      _id: {class: public}
      whole: {class: public, path: "$"}
  Customer:
    from: shop.customers
    key: [_id]
    additional: public
    fields:
      _id: {class: public}
      name: {class: public, path: who.name, bson: string}
      city: {class: public, path: who.address.city}
      odd: {class: public, path: '\\$odd.a\\.b'}
      tags: {class: public, omit: [secret]}
      secret: {class: internal}
"""

RAW_CODEC = CodecOptions[dict[str, Any]](datetime_conversion=DatetimeConversion.DATETIME_MS)

DOC = (column("_id", "bson", "any"), column("whole", "bson", "any"))
CUSTOMER = tuple(column(name, "bson", "any") for name in ("_id", "name", "city", "odd", "tags", "additional"))


def every_type() -> dict[str, Any]:
    """A value of each type, and names that are no operators."""
    return {
        "_id": ObjectId("0123456789abcdef01234567"),
        "z": 1,
        "int": -(2**31),
        "long": Int64(5),
        "double": -0.0,
        "nan": float("nan"),
        "infinity": float("inf"),
        "decimal": Decimal128("1.50E+10"),
        "far": DatetimeMS(2**62),
        "before": DatetimeMS(-1),
        "bytes": Binary(b"\0\xff", 0),
        "uuid": Binary(bytes(16), 4),
        "old": Binary(b"x", 2),
        "user": Binary(b"", 128),
        "regex": Regex("^a", "im"),
        "code": Code("f()"),
        "scoped": Code("f()", {"$x": 1}),
        "ts": Timestamp(0, 0),
        "min": MinKey(),
        "max": MaxKey(),
        "null": None,
        "true": True,
        "$set": {"$inc": {"a": 1}, "x.y": [[], {}, {"$oid": "no"}]},
        "a.b": "dotted",
        "": "empty",
        "$ref": "x",
        "a": {"b": {"c": [1, Int64(1), 1.0]}},
    }


class Docs:
    """Whole documents in a log, and what the forks of it hold."""

    def __init__(self, log: MadeLog) -> None:
        self.log = log
        log.schema(SCHEMA)
        log.shape("Doc", *DOC, key=["_id"], table="shop.docs")
        log.shape("Customer", *CUSTOMER, key=["_id"], table="shop.customers")
        self.entities = parse_schema().entities

    def row(self, entity: str, document: Any) -> dict[str, Any]:
        """A document's row as a worker records it."""
        raw = document if isinstance(document, bytes) else encode(document)
        columns = [c.field for c in (DOC if entity == "Doc" else CUSTOMER)]
        values = explode_document(raw, Paths.of(self.entities[entity], dict.fromkeys(columns, "public")))
        return {name: None if text is None else text.decode() for name, text in zip(columns, values, strict=True)}

    def insert(self, entity: str, document: Any) -> None:
        self.log.commit(self.log.insert(entity, self.row(entity, document)))

    def update(self, entity: str, before: Any, after: Any) -> None:
        was, now = self.row(entity, before), self.row(entity, after)
        changed = [field for field in was if was[field] != now[field]]
        key = {"_id": was["_id"]}
        self.log.commit(self.log.update(entity, key, {f: was[f] for f in changed}, {f: now[f] for f in changed}))

    def delete(self, entity: str, document: Any) -> None:
        self.log.commit(self.log.delete(entity, self.row(entity, document)))


def parse_schema() -> AppSchema:
    return parse(yaml.safe_load(SCHEMA))


def raw_documents(url: str, name: str) -> list[bytes]:
    """What a collection holds, to the byte."""
    with MongoClient[Any](url) as client:
        raw = CodecOptions[RawBSONDocument](document_class=RawBSONDocument)
        return [each.raw for each in client.get_default_database().get_collection(name, codec_options=raw).find()]


@pytest.fixture
def docs(tmp_path: Path) -> Iterator[Docs]:
    log = MadeLog(tmp_path, engine="mongodb")
    yield Docs(log)
    log.close()


def test_documents_of_every_type_are_the_same_to_the_byte(docs: Docs, mongodb_database: str) -> None:
    fork = Fork(docs.log, mongodb_database)
    first = every_type()
    docs.insert("Doc", first)
    fork.sync()
    assert raw_documents(fork.url, "docs") == [encode(first)]
    second = dict(reversed(every_type().items())) | {"more": [{"$gt": ""}]}
    docs.update("Doc", first, second)
    fork.sync()
    assert raw_documents(fork.url, "docs") == [encode(second)]
    docs.delete("Doc", second)
    fork.sync()
    assert (raw_documents(fork.url, "docs"), fork.conflicts()) == ([], [])


def test_a_path_is_changed_and_what_is_beside_it_stays(docs: Docs, mongodb_database: str) -> None:
    fork = Fork(docs.log, mongodb_database)
    first = {
        "_id": 1,
        "who": {"name": "Ann", "address": {"city": "Rome"}},
        "$odd": {"a.b": 1},
        "tags": {"a": 1, "secret": 2},
        "x": 1,
    }
    docs.insert("Customer", first)
    fork.sync()
    assert raw_documents(fork.url, "customers") == [encode({**first, "tags": {"a": 1}})]
    with MongoClient[Any](fork.url) as client:
        own = client.get_default_database().customers
        own.update_one({"_id": 1}, {"$set": {"who.mine": 1, "tags.secret": "mine", "who.address.zip": 5}})
    second = {
        "_id": 1,
        "who": {"name": "Bob", "address": {}},
        "$odd": {"a.b": 2},
        "tags": {"b": 1},
        "y": Int64(2),
        "$x": 1,
    }
    docs.update("Customer", first, second)
    fork.sync()
    with MongoClient[Any](fork.url) as client:
        (found,) = client.get_default_database().customers.find()
    assert found == {
        "_id": 1,
        "who": {"name": "Bob", "address": {"zip": 5}, "mine": 1},
        "$odd": {"a.b": 2},
        "tags": {"b": 1, "secret": "mine"},
        "y": 2,
        "$x": 1,
    }
    assert fork.conflicts() == []


EVIL_KEYS = (
    '{"$gt":""}',
    '{"$ne":null}',
    '{"$where":"1"}',
    '{"a":{"$gt":{"$numberInt":"1"}}}',
    '[{"$numberInt":"1"}]',
    '{"$regularExpression":{"pattern":".*","options":""}}',
    '{"$undefined":true}',
)


@pytest.mark.parametrize("op", ["insert", "update", "delete", "overwrite"])
def test_a_key_that_looks_like_an_operator_means_no_other_document(docs: Docs, mongodb_database: str, op: str) -> None:
    """A log may come from anybody: what is in it is data."""
    log, fork = docs.log, Fork(docs.log, mongodb_database)
    docs.insert("Customer", {"_id": "victim", "who": {"name": "Ann"}})
    for key in EVIL_KEYS:
        row = {**docs.row("Customer", {"_id": 1, "who": {"name": "Ann"}}), "_id": key}
        match op:
            case "insert":
                log.commit(log.insert("Customer", row))
            case "update":
                log.commit(log.update("Customer", {"_id": key}, {"name": '"Ann"'}, {"name": '"Eve"'}))
            case "delete":
                log.commit(log.delete("Customer", row))
            case _:
                log.commit(log.overwrite("Customer", row))
    docs.insert("Customer", {"_id": "later"})
    fork.sync()
    found = sorted(raw_documents(fork.url, "customers"))
    assert found == sorted([encode({"_id": "victim", "who": {"name": "Ann"}}), encode({"_id": "later"})])
    assert [conflict["kind"] for conflict in fork.conflicts()] == ["value"] * len(EVIL_KEYS)


def test_other_fields_have_the_order_in_which_they_were_told(docs: Docs, mongodb_database: str) -> None:
    fork = Fork(docs.log, mongodb_database)
    told = [
        {"_id": 1, "b": 1, "z": 1},
        {"_id": 1, "z": 1, "b": 1},
        {"_id": 1, "b": 2, "z": 1, "n": 1},
        {"_id": 1, "n": 2},
    ]
    docs.insert("Customer", told[0])
    for before, after in pairwise(told):
        docs.update("Customer", before, after)
        fork.sync()
        assert (raw_documents(fork.url, "customers"), fork.conflicts()) == ([encode(after)], [])


def test_a_key_may_hold_a_reference_to_another_document(docs: Docs, mongodb_database: str) -> None:
    """The one case in which a server takes names with a dollar sign in an _id."""
    fork = Fork(docs.log, mongodb_database)
    keys = [DBRef("c", 1), DBRef("c", 1, "d"), {"a": [DBRef("c", {"b": 1}, x=1)]}]
    for key in keys:
        docs.insert("Doc", {"_id": key, "n": 1})
        docs.update("Doc", {"_id": key, "n": 1}, {"n": 2, "_id": key})
    docs.insert("Doc", {"_id": DBRef("gone", 1)})
    docs.delete("Doc", {"_id": DBRef("gone", 1)})
    fork.sync()
    assert raw_documents(fork.url, "docs") == [encode({"_id": key, "n": 2}) for key in keys]
    assert fork.conflicts() == []


def test_values_that_look_like_operators_are_values(docs: Docs, mongodb_database: str) -> None:
    fork = Fork(docs.log, mongodb_database)
    first = {"_id": 1, "who": {"name": "Ann"}}
    evil = {
        "_id": 1,
        "who": {"name": {"$concat": ["$who.name", "x"]}, "address": {"city": "$$ROOT"}},
        "$odd": {"a.b": "$_id"},
        "$set": 1,
    }
    docs.insert("Customer", first)
    docs.update("Customer", first, evil)
    fork.sync()
    with MongoClient[Any](fork.url) as client:
        assert list(client.get_default_database().customers.find()) == [evil]


def test_what_is_no_extended_json_is_a_conflict(docs: Docs, mongodb_database: str) -> None:
    log, fork = docs.log, Fork(docs.log, mongodb_database)
    log.commit(log.insert("Doc", {"_id": '{"$numberInt":"1"}', "whole": '{"a":1}'}))
    log.commit(log.insert("Doc", {"_id": '{"$numberInt":"2"}', "whole": '{"_id":{"$numberInt":"3"}}'}))
    log.commit(log.insert("Doc", {"_id": '{"$numberInt":"4"}', "whole": '"no document"'}))
    fork.sync()
    assert (raw_documents(fork.url, "docs"), [c["kind"] for c in fork.conflicts()]) == ([], ["value"] * 3)


TYPED = """
schema: commitlog.app/v1
app: shop
database: main
default: true
entities:
  Item:
    from: shop.items
    key: [_id]
    fields:
      _id: {class: public, bson: objectId}
      count: {class: public, path: stock.count, bson: long}
      small: {class: public, bson: int}
      price: {class: public, bson: decimal}
      ratio: {class: public, bson: double}
      title: {class: public, bson: string}
      sold: {class: public, bson: bool}
      at: {class: public, bson: date}
      tags: {class: public, bson: array}
      extra: {class: public}
"""

ITEM_TYPES = {"_id": "objectId", "count": "long", "small": "int", "price": "decimal", "ratio": "double", "title": "string",
              "sold": "bool", "at": "date", "tags": "array", "extra": "any"}  # fmt: skip
ITEM = {
    "_id": '{"$oid":"0123456789abcdef01234567"}',
    "count": '{"$numberLong":"9223372036854775807"}',
    "small": '{"$numberInt":"-5"}',
    "price": '{"$numberDecimal":"12.50"}',
    "ratio": '{"$numberDouble":"0.1"}',
    "title": '"tea \\u00e9 \\"x\\""',
    "sold": "true",
    "at": '{"$date":{"$numberLong":"1709201472500"}}',
    "tags": '[{"b":{"$numberInt":"1"},"a":null}]',
    "extra": '{"$numberDouble":"1.0"}',
}


class Items:
    """Documents in a log whose fields have types, and forks of it."""

    def __init__(self, log: MadeLog) -> None:
        self.log = log
        log.schema(TYPED)
        self.shape()

    def shape(self, **types: str) -> None:
        columns = [column(name, "bson", types.get(name, type_)) for name, type_ in ITEM_TYPES.items()]
        self.log.shape("Item", *columns, key=["_id"], table="shop.items")


@pytest.fixture
def items(tmp_path: Path) -> Iterator[Items]:
    log = MadeLog(tmp_path, engine="mongodb")
    yield Items(log)
    log.close()


def test_typed_fields_become_columns_and_the_rest_json(items: Items, some_database: str) -> None:
    log, fork = items.log, Fork(items.log, some_database)
    log.commit(log.insert("Item", ITEM))
    fork.sync()
    (found,) = fork.sql(f"SELECT _id, count, small, price, ratio, title, sold FROM {fork_table(fork)}")
    assert found[:3] == ("0123456789abcdef01234567", 2**63 - 1, -5)
    assert (str(found[3]), found[4], found[5], bool(found[6])) == ("12.50", 0.1, 'tea é "x"', True)
    changes = {
        "count": '{"$numberInt":"7"}',
        "title": None,
        "small": "null",
        "at": '{"$date":{"$numberLong":"0"}}',
        "extra": None,
    }
    log.commit(log.update("Item", {"_id": ITEM["_id"]}, {f: ITEM[f] for f in changes}, changes))
    fork.sync()
    (found,) = fork.sql(f"SELECT count, title, small, extra FROM {fork_table(fork)}")
    assert (found, fork.conflicts()) == ((7, None, None, None), [])
    log.commit(log.delete("Item", {**ITEM, **changes}))
    fork.sync()
    assert (fork.sql(f"SELECT * FROM {fork_table(fork)}"), fork.conflicts()) == ([], [])


def test_json_is_there_to_the_letter(items: Items, some_database: str) -> None:
    log, fork = items.log, Fork(items.log, some_database)
    log.commit(log.insert("Item", ITEM))
    fork.sync()
    cast = "CAST({} AS CHAR)" if fork.in_mysql else "{}::text"
    (found,) = fork.sql(f"SELECT {cast.format('tags')}, {cast.format('extra')} FROM {fork_table(fork)}")
    assert found == (ITEM["tags"], ITEM["extra"])


@pytest.mark.parametrize(
    ("field", "value"),
    [("count", '"5"'), ("small", '{"$numberLong":"2147483648"}'), ("price", '{"$numberDouble":"1.5"}'), ("sold", '{"$numberInt":"1"}'),
     ("at", '{"$date":{"$numberLong":"300000000000000"}}'), ("title", '{"$numberInt":"1"}'), ("_id", '{"$numberInt":"1"}')],
)  # fmt: skip
def test_a_value_of_another_type_is_a_conflict_that_names_it(
    items: Items, new_database: Callable[[], str], field: str, value: str
) -> None:
    log, fork = items.log, Fork(items.log, new_database())
    log.commit(log.insert("Item", {**ITEM, field: value}))
    other = {**ITEM, "_id": '{"$oid":"ffffffffffffffffffffffff"}'}
    log.commit(log.insert("Item", other))
    fork.sync()
    assert fork.sql("SELECT _id FROM shop.items") == [("f" * 24,)]
    conflict = fork.conflict()
    assert (conflict["kind"], conflict["theirs"][field]) == ("value", value)
    assert f"column {field}" in conflict["error"]


def test_a_value_changed_in_the_table_is_told_as_documents_have_it(items: Items, some_database: str) -> None:
    log, fork = items.log, Fork(items.log, some_database)
    log.commit(log.insert("Item", ITEM))
    fork.sync()
    fork.sql(f"UPDATE {fork_table(fork)} SET count = 1, title = 'mine'")
    log.commit(
        log.update(
            "Item",
            {"_id": ITEM["_id"]},
            {f: ITEM[f] for f in ("count", "title")},
            {"count": '{"$numberLong":"2"}', "title": '"theirs"'},
        )
    )
    fork.sync()
    assert {c["field"]: c["ours"] for c in fork.conflicts()} == {"count": '{"$numberLong":"1"}', "title": '"mine"'}


def test_the_plan_says_what_documents_lose_in_tables(items: Items, some_database: str) -> None:
    with open_target(some_database) as target:
        lines = "\n".join(make_plan(items.log.reader, target).lines())
    for part in ("null and absent are one", "canonical Extended JSON", "becomes a conflict", "years 1 to 9999"):
        assert part in lines, lines


def test_a_fork_is_compared_with_its_mongodb(
    docs: Docs, mongodb: MongoServer, mongodb_database: str, some_database: str
) -> None:
    """The collections of the source are read where the app schema's paths say."""
    name = mongodb_database.split("?")[0].rpartition("/")[2]
    log = docs.log
    log.shape("Customer", *CUSTOMER, key=["_id"], table=f"{name}.customers")
    there = [{"_id": n, "who": {"name": f"n{n}"}, "more": {"$x": n}} for n in range(3)]
    with MongoClient[Any](mongodb_database) as client:
        client[name].customers.insert_many(there)
        for each in there:
            docs.insert("Customer", each)
        other = mongodb.database_url(f"{name}_f")
        try:
            for url in (other, some_database):
                fork = Fork(log, url)
                fork.sync()
                found = {each.entity: each for each in compare(mongodb_database, url, ["Customer"])}
                assert (found["Customer"].equal, found["Customer"].rows) == (True, 3), found
            client[name].customers.update_one({"_id": 1}, {"$set": {"who.name": "x"}})
            client[name].customers.delete_one({"_id": 2})
            for url in (other, some_database):
                (found_,) = compare(mongodb_database, url, ["Customer"])
                assert (found_.equal, found_.other.count, found_.extra.count) == (False, 1, 1)
        finally:
            mongodb.drop_database(f"{name}_f")


def test_what_a_worker_records_of_a_mongodb_is_the_same_in_its_forks(
    oplog_source: OplogSource, mongodb: MongoServer, some_database: str
) -> None:
    source = oplog_source
    source.db.create_collection("things")
    source.map("Thing", "things", fields=("_id", "a", "b"))
    source.setup()
    things = source.db.things
    things.insert_one({"_id": ObjectId(), "a": {"$x": [1, Int64(2)]}, "b": DatetimeMS(2**60)})
    run = source.run().streaming()
    source.transact(lambda session: things.insert_many([{"_id": n, "a": n} for n in range(5)], session=session))
    things.update_many({"a": {"$lt": 3}}, {"$set": {"a": "x", "b": Decimal128("1.0")}})
    things.delete_one({"_id": 4})
    run.until_caught_up()
    run.terminate()
    source.check()
    forked = mongodb.database_url(f"{source.database}_f")
    with open_target(source.url) as itself, pytest.raises(Refused, match="source of this log itself"):
        make_plan(open_reader(source.location), itself)
    try:
        for url in (forked, some_database):
            with open_target(url) as opened:
                create(opened, make_plan(open_reader(source.location), opened))
            Follower(url, open_reader(source.location), stop=threading.Event()).run(once=True)
            (compared,) = (each for each in compare(source.url, url) if each.entity == "Thing")
            assert (compared.equal, compared.rows) == (True, 5), compared
        stamps = source.client["commitlog"]["stamps"].find()
        assert [each["ctx"] for each in stamps if '"cause":"mongo:' in each["ctx"]] != []
    finally:
        mongodb.drop_database(f"{source.database}_f")


def fork_table(fork: Fork) -> str:
    """The table of items."""
    return "items" if fork.in_mysql else "shop.items"


@pytest.mark.full
@given(st.lists(RAW, min_size=1, max_size=8))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_documents_hold_arrives(
    tmp_path_factory: pytest.TempPathFactory, mongodb: MongoServer, written: list[bytes]
) -> None:
    url = mongodb.database_url(f"t_{secrets.token_hex(6)}")
    log = MadeLog(tmp_path_factory.mktemp("log"), engine="mongodb")
    try:
        docs, fork = Docs(log), Fork(log, url)
        told = [
            encode({**decode(each, RAW_CODEC), "_id": n}, codec_options=RAW_CODEC) for n, each in enumerate(written)
        ]
        for each in told:
            docs.insert("Doc", each)
        fork.sync()
        found = dict(enumerate(raw_documents(url, "docs")))
        assert [text_of(each) for each in found.values()] == [text_of(each) for each in told]
    finally:
        log.close()
        mongodb.drop_database(url.split("?")[0].rpartition("/")[2])
