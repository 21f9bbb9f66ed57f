"""The whole way with the log on Kafka: a worker, every command that reads, and a fork, on real servers."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from commitlog.cdc.log.kafka_location import KafkaLocation
from fixtures.followed import Followed
from fixtures.kafka import alter
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


def findings(source: Source, code: int = 0) -> list[tuple[str, str]]:
    """What doctor says of the log: (level, what)."""
    lines = source.commitlog("doctor", "--json", code=code).stdout.splitlines()
    found = [json.loads(line) for line in lines]
    return [(f["level"], f["what"]) for f in found if "topic" in f["what"] or "replicas" in f["what"]]


def test_doctor_says_what_of_the_topic_is_unsafe_and_what_is_wrong(kafka_source: Source) -> None:
    source = kafka_source
    source.setup()
    assert [level for level, _ in findings(source, code=1)] == ["ok", "warning", "ok"]
    run = source.run()
    run.until_caught_up()
    run.terminate()
    kept, copies, sizes, sessions = findings(source, code=1)
    assert (kept[0], copies[0], sizes[0], sessions[0]) == ("ok", "warning", "ok", "ok")
    assert "one copy" in copies[1]

    alter(source, retention_ms="1000", max_message_bytes="100000", min_insync_replicas="2")

    worse = findings(source, code=4)
    assert [level for level, _ in worse] == ["error", "warning", "error", "warning", "ok"]
    assert "retention.ms=1000" in worse[0][1]
    assert "nothing can be written" in worse[2][1]


def test_the_consumer_of_the_specification_needs_nothing_of_ours(kafka_source: Source, tmp_path: Path) -> None:
    source = kafka_source
    source.execute(ROWS)
    source.map("Item", "item")
    run = source.setup().run().streaming()
    source.execute("INSERT INTO item VALUES (1, 'one')")
    run.until_caught_up()
    readme = (Path(__file__).parents[2] / "schemas" / "README.md").read_text()
    program = tmp_path / "consumer.py"
    program.write_text(readme.partition("```python\n")[2].partition("```")[0])
    assert "commitlog" not in program.read_text()

    location = source.location
    assert isinstance(location, KafkaLocation)
    with subprocess.Popen(
        [sys.executable, str(program), location.hosts[0], location.topic], stdout=subprocess.PIPE, text=True
    ) as consumer:
        assert consumer.stdout is not None
        assert consumer.stdout.readline() == "None insert Item {'id': 1}\n"
        consumer.kill()
