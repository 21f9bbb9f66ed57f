"""A chunk of a MongoDB collection is what the collection is at its place in the log, whatever is written while it waits."""

import time
from collections import deque
from contextlib import closing

import orjson

from commitlog.cdc.app_schemas.files import load_registry
from commitlog.cdc.config import Config, LogConfig, SchemasConfig, SourceConfig
from commitlog.cdc.log.location import Location
from commitlog.cdc.tail.mongodb import OplogStream
from commitlog.cdc.tail.mongodb_catalog import Catalog
from commitlog.cdc.worker.mongodb_snapshot import MongodbSnapshotter
from fixtures.oplog_source import OplogSource, in_record


def test_what_is_written_behind_a_chunk_is_laid_over_it(oplog_source: OplogSource) -> None:
    source = oplog_source
    orders = source.db.create_collection("orders")
    source.map("Order", "orders", fields=("_id", "status"))
    source.setup()
    orders.insert_many([{"_id": number, "status": "old"} for number in range(6)])
    del source.entities["Mark"]
    source.write_schema(source.schema_path, source.schema())
    config = Config(
        source.folder,
        SourceConfig(url=source.url),
        LogConfig(Location(source.folder / "log", "shop")),
        SchemasConfig(source.schema_path),
    )
    schema = load_registry(source.schema_path).default
    assert schema is not None
    with closing(Catalog(source.url)) as catalog:
        snapshots = MongodbSnapshotter(config, catalog, schema=schema, progress={}, recent=deque())
        assert snapshots.take()
        assert snapshots.chunk is not None
        due = snapshots.chunk.due
        orders.update_one({"_id": 1}, {"$set": {"status": "new"}})
        orders.delete_one({"_id": 2})
        orders.insert_one({"_id": 7, "status": "later"})
        orders.replace_one({"_id": 3}, {"status": "replaced"})
        end = catalog.majority_point()
        stream = OplogStream(
            catalog,
            replica_set="0" * 24,
            start=due,
            wanted=lambda database, name: name == "orders",
            held=lambda position: None,
            spill_bytes=1 << 20,
            silence_s=10,
        )
        with closing(stream):
            deadline = time.monotonic() + 20
            while stream.server_end < end:
                assert time.monotonic() < deadline
                for transaction in stream.poll(1):
                    snapshots.observe(transaction)
        meta, items = snapshots.finish()
        snapshots.close()

    told = {item["key"]["_id"]: item["after"]["status"] for item in map(orjson.loads, items)}
    expected = {0: "old", 1: "new", 3: "replaced", 4: "old", 5: "old"}
    assert told == {in_record(key): in_record(status) for key, status in expected.items()}
    assert meta["omitted"] == [[in_record(7)]]
    assert meta["last"]
