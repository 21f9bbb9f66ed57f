"""What an app schema says of documents is what the log has of them: of paths, of what is left out, of what no field names."""

import json
from pathlib import Path
from typing import Any

import pytest
from bson import Decimal128

from fixtures.oplog_source import OplogSource

FIELDS: dict[str, dict[str, Any]] = {
    "_id": {"class": "public"},
    "total": {"class": "public", "bson": "decimal"},
    "items": {"class": "public", "omit": ["card", "parts.price"]},
    "customer": {"class": "public", "omit": ["name", "address"]},
    "customer_name": {"class": "personal", "path": "customer.name"},
    "dotted": {"class": "public", "path": r"a\.b.c"},
    "note": {"class": "personal"},
    "secret": {"class": "internal"},
    "deep": {"class": "public", "path": "shipping.to.city"},
}
DOCUMENT: dict[str, Any] = {
    "_id": 1,
    "total": Decimal128("1.50"),
    "items": [{"no": 1, "card": "HIDE1"}, [{"card": "HIDE2", "parts": [{"price": "HIDE3", "name": "bolt"}]}], None],
    "customer": {"no": 7, "name": "PERSON", "address": {"street": "HIDE4"}},
    "a.b": {"c": True, "d": "HIDE5"},
    "note": "PERSON too",
    "secret": "HIDE6",
    "shipping": {"to": {"city": "Ulm", "street": "HIDE7"}},
    "more": {"x": 1.0, "card": "seen"},
    "$odd": None,
}
PUBLIC = {
    "_id": '{"$numberInt":"1"}',
    "total": '{"$numberDecimal":"1.50"}',
    "items": '[{"no":{"$numberInt":"1"}},[{"parts":[{"name":"bolt"}]}],null]',
    "customer": '{"no":{"$numberInt":"7"}}',
    "dotted": "true",
    "deep": '"Ulm"',
    "additional": '{"more":{"x":{"$numberDouble":"1.0"},"card":"seen"},"$odd":null}',
}
PERSONAL = {"customer_name": '"PERSON"', "note": '"PERSON too"'}


def map_orders(source: OplogSource, **entity: Any) -> None:
    """Let the app schema say this of the collection orders."""
    source.db.create_collection("orders")
    source.map("Order", "orders", fields=("_id",))
    document: dict[str, Any] = source.schema()
    document["entities"]["Order"] = {"from": f"{source.database}.orders", "key": ["_id"], **entity}
    source.write_schema(source.schema_path, document)
    source.setup()


def changes(source: OplogSource) -> list[dict[str, Any]]:
    """What the log has of orders, rows of snapshots included, in its order."""
    records = source.history().records
    items = [item for header, items in records if header["kind"] in ("commit", "snapshot") for item in items[2:]]
    return [item for item in items if item.get("entity") == "Order"]


@pytest.mark.parametrize("visibility", ["own", "shared"])
def test_values_are_where_the_paths_say_without_what_is_left_out(oplog_source: OplogSource, visibility: str) -> None:
    source = oplog_source
    file = source.folder / "commitlog.toml"
    file.write_text(file.read_text().replace("[schemas]", f"visibility = '{visibility}'\n[schemas]"))
    map_orders(source, additional="public", fields=FIELDS)
    source.db.orders.insert_one(DOCUMENT)
    run = source.run()
    run.until_snapshots()
    source.db.orders.insert_one({**DOCUMENT, "_id": 2, "customer": [DOCUMENT["customer"]], "total": None})
    source.db.orders.update_one(
        {"_id": 1}, {"$set": {"customer.name": "PERSON again", "items.0.card": "HIDE8", "shipping.to.street": "HIDE9"}}
    )
    source.db.orders.update_one({"_id": 1}, {"$set": {"more.x": 2, "new": "y"}, "$unset": {"$odd": ""}})
    source.db.orders.delete_one({"_id": 1})
    run.until_caught_up()
    run.terminate()

    personal = PERSONAL if visibility == "own" else {}
    row, *found = changes(source)
    assert row["after"] == {**PUBLIC, **personal}
    inserted = next(change for change in found if change["op"] == "insert")["after"]
    assert inserted["total"] == "null"
    assert inserted["customer"] == '[{"no":{"$numberInt":"7"}}]'
    assert inserted.get("customer_name") is None
    *first, second = (change["after"] for change in found if change["op"] == "update")
    # Where nothing is recorded of what it changed, an update is not either.
    assert first == ([{"customer_name": '"PERSON again"'}] if personal else [])
    assert second == {"additional": '{"more":{"x":{"$numberInt":"2"},"card":"seen"},"new":"y"}'}
    assert found[-1]["op"] == "delete"
    whole = b"".join(path.read_bytes() for path in (source.folder / "log").rglob("*") if path.is_file())
    assert b"HIDE" not in whole
    assert (b"PERSON" in whole) == bool(personal)
    source.commitlog("verify")


def test_the_whole_document_is_a_field_without_what_it_omits(oplog_source: OplogSource) -> None:
    source = oplog_source
    whole = {"class": "public", "path": "$", "omit": ["secret", "customer.name", "items.card"]}
    map_orders(source, fields={"_id": {"class": "public"}, "doc": whole, "who": FIELDS["customer_name"]})
    run = source.run()
    run.until_snapshots()
    source.db.orders.insert_one({"z": 1, **DOCUMENT})
    run.until_caught_up()
    run.terminate()

    (change,) = changes(source)
    document = json.loads(change["after"]["doc"])
    # The server puts _id first, and keeps the order of all else.
    assert list(document) == ["_id", "z", *(key for key in DOCUMENT if key not in ("_id", "secret"))]
    assert document["customer"] == {"no": {"$numberInt": "7"}, "address": {"street": "HIDE4"}}
    assert change["after"]["who"] == '"PERSON"'


def test_a_collection_that_is_mapped_later_is_made_ready_and_handed_to_the_worker(oplog_source: OplogSource) -> None:
    source = oplog_source
    map_orders(source, fields={"_id": {"class": "public"}})
    source.db.others.insert_one({"_id": 1, "x": 1})
    run = source.run()
    run.until_snapshots()
    later: Path = source.folder / "later.json"
    document: dict[str, Any] = json.loads(source.schema_path.read_text())
    fields = {"_id": {"class": "public"}, "x": {"class": "public"}}
    document["entities"] = {"Other": {"from": f"{source.database}.others", "key": ["_id"], "fields": fields}}
    document |= {"default": False, "builds": ["2.*"]}
    source.write_schema(later, document)

    refused = source.commitlog("schema", "add", str(later), code=4).stderr

    assert "does not keep what its documents were" in refused
    assert "commitlog setup FILE, then commitlog schema add FILE again" in refused
    source.commitlog("setup", str(later))
    assert "is record" in source.commitlog("schema", "add", str(later)).stdout
    assert "2.*" in source.commitlog("schema", "list").stdout
    run.until_caught_up()
    run.terminate()
