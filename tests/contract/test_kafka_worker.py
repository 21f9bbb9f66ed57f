"""The whole way with the log on Kafka: a worker, every command that reads, and a fork, on real servers."""

import json
from collections.abc import Callable

from fixtures.followed import Followed
from fixtures.worker import Source

ROWS = "CREATE TABLE item (id int PRIMARY KEY, name text)"


def test_a_source_goes_to_kafka_and_on_to_a_fork(kafka_source: Source, new_database: Callable[[], str]) -> None:
    source = kafka_source
    source.execute(ROWS, "INSERT INTO item SELECT i, 'before' FROM generate_series(1, 20) i")
    source.map("Item", "item")
    run = source.setup().run()
    run.until_snapshots()
    source.execute("INSERT INTO item VALUES (21, 'after')", "UPDATE item SET name = 'changed' WHERE id < 4")
    run.until_caught_up()
    fork = Followed(source, new_database())
    fork.sync()

    source.execute("DELETE FROM item WHERE id = 2")
    run.until_caught_up()

    fork.check("Item")
    run.terminate()
    source.check()
    deleted = next(commit for commit in source.history().commits if commit.changes[0]["op"] == "delete")
    assert "all as they were chained" in source.commitlog("verify").stdout
    assert f'"seq":{deleted.seqs[0]}' in source.commitlog("show", "--json", deleted.id).stdout
    assert len(source.commitlog("log", "Item/2", "--oneline").stdout.splitlines()) == 3
    assert json.loads(source.commitlog("status", "--json").stdout)["log"]["url"] == str(source.location)
