"""What real logs hold is what record.schema.json says: every log that a test reads is held to it (fixtures/record_forms.py), and
here is one with every kind of record that one server makes a worker write. `source` records are in crash/test_failover.py, snapshots
with `omitted` in test_snapshot.py.
"""

import json

import jsonschema
import pytest

from commitlog.cdc.json_schema import read
from commitlog.schemas.record import Record
from fixtures.load import open_shop
from fixtures.logs import golden_lines
from fixtures.record_forms import hold_to_schema
from fixtures.requests import access_log, tag, write
from fixtures.worker import Source

REQUEST = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
PARTS = {"limits__part_bytes": 400, "limits__flush_bytes": 1, "limits__flush_ms": 0, "limits__coverage_s": 0.1}


def everything(source: Source) -> Source:
    """A log with every kind of record, but for a failover's."""
    open_shop(source)
    source.execute("INSERT INTO orders SELECT -n, 'old', n FROM generate_series(1, 20) n")
    run = source.run(limits__snapshot_rows=5, limits__coverage_s=0.1)
    run.until_caught_up()
    write(source, tag(REQUEST), "INSERT INTO orders VALUES (1, 'new', 10)")
    source.execute(
        "UPDATE orders SET status = 'paid' WHERE id = 1",
        "UPDATE orders SET id = 2 WHERE id = 1",
        "DELETE FROM orders WHERE id = 2",
        "ALTER TABLE orders REPLICA IDENTITY DEFAULT",
        "UPDATE orders SET status = 'key only' WHERE id = -1",
        "DELETE FROM orders WHERE id = -2",
        "TRUNCATE orders, notes RESTART IDENTITY CASCADE",
        "ALTER TABLE orders REPLICA IDENTITY FULL",
    )
    run.until_marked()
    log = access_log(source.folder / "access.log", {"request_id": REQUEST, "user": "ann"})
    source.commitlog("sessions", "import", str(log))
    run.until(lambda: source.history().of_kind("amend"), "the amend")
    source.execute("CREATE TABLE unmapped (id int)", "INSERT INTO unmapped SELECT generate_series(1, 1000)")
    run.until(lambda: source.history().of_kind("coverage"), "coverage")
    run.terminate()
    source.execute("INSERT INTO notes SELECT 'a', n, repeat('x', 90) FROM generate_series(1, 80) n")
    source.run("between_parts:kill:9", **PARTS).until_killed()
    run = source.run(**PARTS)
    run.until_marked()
    run.terminate()
    source.commitlog("resume", "--accept-gap")
    return source


def test_a_log_with_every_kind_of_record_is_what_the_json_schema_says(source: Source) -> None:
    records = everything(source).history().records

    assert {header["kind"] for header, _ in records} == {
        *("genesis", "schema", "shape", "snapshot", "commit", "coverage", "amend", "void", "gap"),
    }
    items = [item for header, items in records if header["kind"] in ("commit", "snapshot") for item in items[2:]]
    assert {item["op"] for item in items} == {"insert", "update", "rekey", "delete", "truncate", "row"}
    assert {item["image"] for item in items if "image" in item} == {"full", "key"}
    assert any(not header["part"]["last"] for header, _ in records if "part" in header)
    ranges = [items[1] for header, items in records if header["kind"] == "snapshot"]
    assert any(meta["from"] and meta["to"] for meta in ranges)
    validator = jsonschema.Draft202012Validator(read("record"))
    lines = [line for path in sorted(source.location.segments.iterdir()) for line in path.read_bytes().splitlines()]
    assert len(lines) == len(records)
    for line in lines:
        validator.validate(json.loads(line))


def test_a_record_of_another_form_is_noticed_by_every_test_that_reads_a_log() -> None:
    record = Record.parse(golden_lines()[6])
    items = record.items()
    hold_to_schema(record, items)
    items[1]["omitted"] = 1

    with pytest.raises(jsonschema.ValidationError):
        hold_to_schema(record, items)
