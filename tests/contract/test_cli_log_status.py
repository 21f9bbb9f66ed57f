"""`commitlog status`: each part is looked at for itself, and none hides another."""

import json
import os
from pathlib import Path
from typing import Any

import psycopg
import pytest
from jsonschema import Draft202012Validator

from commitlog.cdc.cli import main
from commitlog.cdc.doctor.standing import look_at_worker
from commitlog.cdc.log.embedded import Writer
from commitlog.cdc.log.location import Location
from commitlog.cdc.servers.ports import free_port
from commitlog.cdc.sessions.store import SessionRecord, Store, path_of
from commitlog.cdc.telemetry.metrics import Telemetry
from commitlog.cdc.telemetry.vitals import Vitals
from commitlog.schemas.position import parse_lsn
from fixtures.fork_log import MadeLog, column

CONTRACT = Draft202012Validator(json.loads((Path(__file__).parents[2] / "schemas" / "status.schema.json").read_text()))
"""What `status --json` prints, which every test here holds it to."""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MadeLog:
    monkeypatch.chdir(tmp_path)
    made = MadeLog(tmp_path, genesis={"visibility": "own"})
    made.shape("Order", column("id", "int32"))
    return made


def status(log: MadeLog, capsys: pytest.CaptureFixture[str], *argv: str, code: int = 0) -> tuple[str, dict[str, Any]]:
    """What it prints, and the same as JSON."""
    assert main.main(["status", "--log", log.url, *argv]) == code
    text = capsys.readouterr().out
    assert main.main(["status", "--log", log.url, "--json", *argv]) == code
    document = json.loads(capsys.readouterr().out)
    CONTRACT.validate(document)
    return text, document


def test_of_a_log(log: MadeLog, capsys: pytest.CaptureFixture[str]) -> None:
    by = {"assurance": 1, "request": "r", "user": "ann"}
    first = log.commit(log.insert("Order", {"id": 1}), by=by)
    log.commit(log.insert("Order", {"id": 2}), by=by)
    log.commit(log.insert("Order", {"id": 3}))
    log.amend(first, {**by, "assurance": 2})
    coverage = log.record("coverage")
    log.close()

    text, document = status(log, capsys)

    found = document["log"]
    assert (found["head"], found["records"]) == ({"seq": log.head.seq, "hash": log.head.hash}, log.head.seq + 1)
    assert found["bytes"] == sum(path.stat().st_size for path in log.location.segments.iterdir())
    assert (found["epoch"], found["visibility"], found["position"]) == (1, "own", "0/300")
    assert (found["commits"], found["amended"]) == ({"2": 1, "1": 1, "0": 1}, 1)
    assert found["coverage"]["seq"] == coverage
    assert document["source"] is None
    assert document["worker"] == {
        "running": False,
        "pid": None,
        "waiting_for_schema": None,
        "trouble": None,
        "lag_s": None,
    }
    assert document["sessions"] is None
    assert f"head      {log.head}\n" in text
    assert "commits   3: 1 corroborated, 1 claimed, 1 untagged; 1 amend record\n" in text
    assert "worker    not running\n" in text


def test_of_a_log_that_is_not_there_yet(tmp_path: Path, capsys: pytest.CaptureFixture[str], log: MadeLog) -> None:
    assert main.main(["status", "--log", f"file:{tmp_path}#none"]) == 0
    assert capsys.readouterr().out == (
        f"log       file:{tmp_path}#none\n          not there yet: commitlog run creates it\nworker    not running\n"
    )


def test_of_a_log_that_has_not_begun(tmp_path: Path, capsys: pytest.CaptureFixture[str], log: MadeLog) -> None:
    (tmp_path / "schemas").mkdir()
    Writer.open(Location(tmp_path, "begun"), memory=None).close()
    text, document = status(log, capsys, "--log", f"file:{tmp_path}#begun")
    assert "empty" in text
    assert (document["log"]["visibility"], document["log"]["schemas"]) == ("", [])


def test_of_a_damaged_log_it_shows_the_rest_and_ends_with_exit_3(
    log: MadeLog, capsys: pytest.CaptureFixture[str]
) -> None:
    log.location.head.write_bytes(b"nothing")
    text, document = status(log, capsys, code=3)
    assert "head file" in document["log"]["trouble"]
    assert document["worker"]["running"] is True
    assert f"worker    running, process {os.getpid()}\n" in text


def test_of_a_worker_by_the_lock_it_holds(log: MadeLog) -> None:
    assert look_at_worker(log.location, None).pid == os.getpid()
    log.close()
    assert not look_at_worker(log.location, None).running
    # Looking did not take the lock from anybody.
    Writer.open(log.location, memory=None).close()


@pytest.mark.parametrize(("name", "waiting"), [("made", True), ("made", False), ("another", None)])
def test_of_a_worker_that_waits_for_a_schema(log: MadeLog, name: str, waiting: bool | None) -> None:
    address = ("127.0.0.1", free_port())
    telemetry = Telemetry(address, vitals=Vitals(60, waiting_for="a build" if waiting else ""), name=name)
    try:
        assert look_at_worker(log.location, address).waiting_for_schema is waiting
    finally:
        telemetry.close()
    assert look_at_worker(log.location, address).waiting_for_schema is None


def test_of_a_source_and_its_slot(
    log: MadeLog, database: str, unique: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMMITLOG_SOURCE__SLOT", unique)
    text, document = status(log, capsys, "--source", database)
    assert (document["source"]["trouble"], document["source"]["slot_found"]) == (None, False)
    assert f"no slot {unique}: commitlog setup" in text

    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (unique,))
        connection.execute("CREATE TABLE t AS SELECT generate_series(1, 1000)")
    text, document = status(log, capsys, "--source", database)

    source = document["source"]
    assert (source["slot"], source["slot_found"], source["active_pid"]) == (unique, True, None)
    assert 0 < parse_lsn(source["confirmed"]) < parse_lsn(source["wal_end"])
    assert document["lag"]["bytes"] == parse_lsn(source["wal_end"]) - parse_lsn(document["log"]["position"])
    assert source["retained_bytes"] > 0
    assert source["wal_status"] == "reserved"
    assert "@" in source["url"]
    assert ":postgres" not in source["url"]
    assert f"slot {unique} at {source['confirmed']}, idle, keeps " in text


def test_of_a_source_that_does_not_answer(log: MadeLog, capsys: pytest.CaptureFixture[str]) -> None:
    text, document = status(log, capsys, "--source", "postgresql://nobody:secret@127.0.0.1:1/none")
    assert "cannot be reached" in document["source"]["trouble"]
    assert document["log"]["head"]["seq"] == log.head.seq
    assert "cannot be reached" in text
    assert "secret" not in text + json.dumps(document)


def test_with_neither_log_nor_source_nor_worker_there_is_nothing_to_say(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], log: MadeLog
) -> None:
    argv = ["status", "--log", f"file:{tmp_path}#none", "--source", "postgresql://nobody@127.0.0.1:1/none"]
    assert main.main(argv) == 5
    out, err = capsys.readouterr()
    assert "cannot be reached" in out
    assert err.startswith("error: there is no log file:")
    assert "\ntry: " in err


def test_of_snapshots_and_which_schemas_hold(log: MadeLog, capsys: pytest.CaptureFixture[str]) -> None:
    log.shape("Line", column("id", "int32"))
    log.snapshot("Order", {"id": 9}, last=False, name="old")
    log.gap()
    log.snapshot("Order", {"id": 1}, last=False, name="new")
    log.snapshot("Order", {"id": 2}, name="new")
    log.snapshot("Line", {"id": 1}, last=False)
    log.close()
    text, document = status(log, capsys)
    order, line = log.head.seq - 1, log.head.seq
    assert document["log"]["snapshots"] == [
        {"entity": "Line", "chunks": 1, "seq": line, "complete": False},
        {"entity": "Order", "chunks": 2, "seq": order, "complete": True},
    ]
    assert f"snapshots Line: 1 chunk so far, the last in record {line}\n          1 of 2 complete\n" in text


def test_of_session_records_that_no_commit_was_compared_with(log: MadeLog, capsys: pytest.CaptureFixture[str]) -> None:
    with Store.open(path_of(log.location), create=True) as store:
        store.add([(SessionRecord(0, f"r{number}"), bytes([number]) * 32) for number in range(3)])
        store.set_amended_through(1)
    text, document = status(log, capsys)
    assert document["sessions"] == {"records": 3, "uncompared": 2}
    assert "sessions  3 records, 2 not compared with commits yet\n" in text
