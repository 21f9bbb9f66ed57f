"""What operators see of a running worker: health, figures, traces, lines, signals, and what systemd is told."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from commitlog.cdc.cli import main
from commitlog.cdc.servers.ports import free_port
from commitlog.cdc.telemetry.metrics import COUNTERS, GAUGES
from fixtures.load import open_shop
from fixtures.proxy import TcpProxy
from fixtures.requests import tag, write
from fixtures.served import Manager, figures, get, otlp_receiver
from fixtures.worker import Run, Source

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
LIMITED = {"commitlog.wal.safe"}
"""Shown only where the server has max_slot_wal_keep_size."""


@pytest.fixture
def address() -> str:
    return f"127.0.0.1:{free_port()}"


def open_orders(source: Source, rows: int = 3) -> Source:
    """A mapped table with rows, and everything set up."""
    source.execute("CREATE TABLE orders (id int PRIMARY KEY, status text, total bigint)")
    source.execute(f"INSERT INTO orders SELECT n, 'old', n FROM generate_series(1, {rows}) n")
    source.map("Order", "orders")
    return source.setup()


def test_every_figure_is_served_in_the_form_of_prometheus_and_says_what_the_log_holds(
    source: Source, address: str
) -> None:
    open_orders(source)
    run = source.run(http__listen=address).streaming()
    run.until_caught_up()
    write(source, tag("r", build="nobody's"), "UPDATE orders SET total = 7")
    run.until_marked()
    run.until(lambda: figures(address).get("commitlog_lag_time_seconds") == 0, "a lag of nothing")

    # A coverage record may come at any time.
    run.until(lambda: figures(address).get("commitlog_head_seq") == source.history().records[-1][0]["seq"], "the head")
    found = figures(address)
    history = source.history()
    told = {name.replace(".", "_") for name in (*COUNTERS, *GAUGES) if name not in LIMITED}
    assert {name for name in told if not any(sample.startswith(name) for sample in found)} == set()
    assert found["commitlog_commits_total"] == len(history.commits)
    assert found["commitlog_rows_total"] == sum(len(commit.changes) for commit in history.commits)
    assert found["commitlog_snapshot_rows_total"] == 3
    assert found["commitlog_snapshot_unfinished"] == 0
    assert found["commitlog_unknown_builds"] == 1
    assert found["commitlog_untagged_total"] == len(history.commits) - 1
    assert found["commitlog_up"] == 1
    assert found["commitlog_wal_retained_bytes"] > 0
    assert found["commitlog_flush_time_seconds"] > 1.7e9
    assert get(address, "/readyz?probe=1") == (200, "ready\n")
    assert get(address, "/nothing")[0] == 404
    run.terminate()


def test_a_worker_whose_source_is_away_is_not_ready_says_why_and_counts_how_long(
    source: Source, address: str, proxy: Callable[[str], TcpProxy]
) -> None:
    open_orders(source)
    through = proxy(source.url)
    source.configure(through.url)
    run = source.run(http__listen=address, limits__retry_s=0.2).streaming()
    run.until_caught_up()
    run.until(lambda: figures(address).get("commitlog_lag_time_seconds") == 0, "a lag of nothing")
    through.stop()
    run.until(lambda: get(address, "/readyz")[0] == 503, "not being ready")
    run.until(lambda: "cannot be reached" in get(address, "/readyz")[1], "the reason")
    assert get(address, "/healthz") == (200, "ok\n")
    run.until(lambda: figures(address).get("commitlog_lag_time_seconds", 0) > 0.5, "the lag to grow")
    run.until(lambda: figures(address).get("commitlog_up") == 0, "a figure that says so")
    # What operators ask for meanwhile is done, too: the schemas are read again, though nothing streams.
    (source.folder / "schemas" / "broken.yaml").write_text("- no schema")
    run.signal(signal.SIGHUP)
    run.until(lambda: "app schemas not read: " in run.output, "the schemas to be read")
    assert run.running
    (source.folder / "schemas" / "broken.yaml").unlink()
    through.start()
    run.until(lambda: get(address, "/readyz") == (200, "ready\n"), "being ready again")
    run.until_marked()
    run.terminate()


SCHEMAS = Path(__file__).parents[2] / "schemas"


def documents(
    capsys: pytest.CaptureFixture[str], source: Source, name: str, *, code: int, **settings: str
) -> list[Any]:
    """What a command prints as JSON, held to its contract."""
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        for setting, value in settings.items():
            patch.setenv(f"COMMITLOG_{setting.upper()}", value)
        assert main.main([name, "--json", "--config", str(source.folder / "commitlog.toml")]) == code
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    contract = Draft202012Validator(json.loads((SCHEMAS / f"{name}.schema.json").read_text()))
    for line in lines:
        contract.validate(line)
    return lines


def test_doctor_prints_what_its_contract_says_also_where_the_source_is_away(
    source: Source, capsys: pytest.CaptureFixture[str]
) -> None:
    open_orders(source)
    findings = documents(capsys, source, "doctor", code=1)
    assert {finding["level"] for finding in findings} == {"ok", "warning"}
    assert "error: nobody is there to be asked\ntry: --yes\n" in source.commitlog("teardown", code=2).stderr
    source.configure("postgresql://nobody@127.0.0.1:1/none")
    (last,) = documents(capsys, source, "doctor", code=5)
    assert last["level"] == "error"
    assert "cannot be reached" in last["what"]


def test_status_says_what_the_worker_says_of_itself(
    source: Source, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    open_orders(source)
    run = source.run(http__listen=address).streaming()
    run.until_caught_up()
    run.until(lambda: figures(address).get("commitlog_lag_time_seconds") == 0, "a lag of nothing")
    (found,) = documents(capsys, source, "status", code=0, http__listen=address)
    assert (found["worker"]["trouble"], found["lag"]["seconds"]) == ("", 0)
    assert all(schema["in_force"] for schema in found["log"]["schemas"])
    assert {snapshot["entity"] for snapshot in found["log"]["snapshots"]} == {"Mark", "Order"}
    run.kill()
    source.configure("postgresql://nobody@127.0.0.1:1/none")
    (found,) = documents(capsys, source, "status", code=0, http__listen=address)
    assert (found["worker"]["running"], found["lag"]) == (False, {"bytes": None, "seconds": None})
    assert "cannot be reached" in found["source"]["trouble"]


def test_a_worker_that_waits_for_a_schema_says_for_which(source: Source, address: str) -> None:
    open_orders(source)
    source.write_schema(source.schema_path, source.schema(strict=True))
    run = source.run(http__listen=address).streaming()
    run.until_marked()
    write(source, tag("r", build="sha256:new"), "UPDATE orders SET total = 7")
    run.until(lambda: get(address, "/readyz")[0] == 503, "the wait")
    assert "no app schema is for build 'sha256:new': commitlog schema add FILE" in get(address, "/readyz")[1]
    run.until(lambda: figures(address).get("commitlog_lag_time_seconds", 0) > 0, "a lag")
    assert figures(address)["commitlog_waits_total"] == figures(address)["commitlog_waiting"] == 1
    assert get(address, "/healthz") == (200, "ok\n")
    run.terminate()


@pytest.fixture
def manager(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unique: str
) -> Iterator[Manager]:
    """A service manager on a socket: with a file, or without as containers have it, where a test asks for "abstract"."""
    made = Manager(f"@{unique}" if getattr(request, "param", "") == "abstract" else str(tmp_path / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", made.address)
    yield made
    made.close()


@pytest.mark.parametrize("manager", ["file", "abstract"], indirect=True)
def test_systemd_is_told_of_readiness_reload_life_status_and_the_end(
    source: Source, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_orders(source)
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    run = source.run()
    run.until(lambda: manager.heard("READY=1"), "READY=1")
    run.until(lambda: manager.heard("STATUS=streaming"), "the status")
    run.until(lambda: manager.heard("WATCHDOG=1") > 2, "signs of life")

    run.signal(signal.SIGHUP)
    run.until(lambda: manager.heard("READY=1") == 2, "READY=1 after the reload")
    (reloading,) = [message for message in manager.said if "RELOADING=1" in message]
    stamp = next(line for line in reloading if line.startswith("MONOTONIC_USEC="))
    assert int(stamp.partition("=")[2]) > 0
    assert manager.said.index(reloading) < [n for n, message in enumerate(manager.said) if "READY=1" in message][1]
    assert "app schemas read again" in run.output

    run.terminate()
    assert "STOPPING=1" in manager.said[-1] or "STOPPING=1" in manager.said[-2]


def test_a_worker_that_hangs_is_unhealthy_and_systemd_hears_no_sign_of_life(
    source: Source, address: str, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_orders(source)
    monkeypatch.setenv("WATCHDOG_USEC", "100000")
    run = source.run(http__listen=address, limits__silence_s=2).streaming()
    run.until(lambda: get(address, "/healthz") == (200, "ok\n"), "health")
    held = hang(run, source)
    run.until(lambda: get(address, "/healthz")[0] == 503, "the worker to be thought hanging")
    assert "has not moved" in get(address, "/healthz")[1]
    assert get(address, "/readyz")[0] == 503
    run.until(lambda: manager.heard("STATUS=the worker's thread has not moved"), "the status")
    heard, stuck = manager.heard("WATCHDOG=1"), manager.heard("STATUS=the worker's thread")
    assert heard > 0
    run.until(lambda: manager.heard("STATUS=the worker's thread") > stuck, "the status to go on")
    assert manager.heard("WATCHDOG=1") == heard
    os.close(held)
    run.until(lambda: get(address, "/healthz") == (200, "ok\n"), "health again")
    run.until(lambda: manager.heard("WATCHDOG=1") > heard, "signs of life again")
    run.terminate()


def test_systemd_gets_ready_from_a_worker_whose_source_is_away_and_no_ready_from_one_that_is_refused(
    source: Source, manager: Manager
) -> None:
    open_orders(source)
    url = source.url
    source.configure("postgresql://nobody@127.0.0.1:1/none")
    run = source.run(limits__retry_s=0.2)
    run.until(lambda: manager.heard("READY=1"), "READY=1")
    run.until(lambda: manager.heard("STATUS=the source cannot be reached"), "the status")
    run.terminate()
    before = manager.heard("READY=1")
    source.configure(url)
    source.execute(f"SELECT pg_drop_replication_slot('{source.name}')")
    source.run().refused(4, "slot")
    assert manager.heard("READY=1") == before


def test_spans_and_metrics_go_to_a_receiver_and_an_unsampled_request_sends_none(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_orders(source)
    with otlp_receiver() as received:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", received.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20canary-7")
        monkeypatch.setenv("OTEL_SERVICE_NAME", "cdc-of-shop")
        run = source.run().streaming()
        run.until_caught_up()
        write(source, tag("r0", traceparent=f"00-{TRACE}-{PARENT}-00"), "UPDATE orders SET total = 6")
        xid = write(source, tag("r1", traceparent=f"00-{TRACE}-{PARENT}-01"), "UPDATE orders SET total = 7")
        run.until_marked()
        # What is not sent yet goes at the end.
        run.terminate()

        (span,) = received.spans
        found = received.metrics
        resource = received.documents["/v1/traces"][0]["resourceSpans"][0]["resource"]
    (commit,) = [commit for commit in source.history().commits if commit.xid == xid]
    attributes = {each["key"]: next(iter(each["value"].values())) for each in span["attributes"]}
    assert (span["traceId"], span["parentSpanId"], span["name"]) == (TRACE, PARENT, f"append {source.name}")
    assert attributes["commitlog.commit"] == commit.id
    assert (attributes["commitlog.seq"], attributes["commitlog.rows"]) == (str(commit.seqs[0]), "3")
    assert int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"])
    assert found["commitlog.commits"]["sum"]["dataPoints"][0]["asInt"] == str(len(source.history().commits))
    assert found["commitlog.head.seq"]["gauge"]["dataPoints"]
    assert {"key": "service.name", "value": {"stringValue": "cdc-of-shop"}} in resource["attributes"]
    assert received.headers["authorization"] == "Bearer canary-7"
    assert "canary" not in run.output


def test_a_receiver_that_never_answers_holds_up_neither_the_work_nor_the_end(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_orders(source)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{deaf.getsockname()[1]}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "400")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        run = source.run().streaming()
        run.until_caught_up()
        for _ in range(3):
            write(source, tag("r", traceparent=f"00-{TRACE}-{PARENT}-01"), "UPDATE orders SET total = total + 1")
            run.until_marked()
        run.until(lambda: "telemetry cannot be sent" in run.output, "the warning")
        run.terminate()
    assert run.output.count("/v1/traces: ") == 1, "it is said once"
    source.check()


def lines_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def commitlog_run(source: Source, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "commitlog.cdc.cli.main", "run", *arguments],
        cwd=source.folder,
        env={**os.environ, "COMMITLOG_HTTP__LISTEN": ""},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_json_lines_are_one_object_an_event_to_the_last_and_hold_no_value_of_a_row(source: Source) -> None:
    open_orders(source)
    source.execute("UPDATE orders SET status = 'canary-7'")
    process = commitlog_run(source, "--log-format", "json")
    try:
        assert process.stderr is not None
        head: list[str] = []
        while "streaming from" not in (line := process.stderr.readline()):
            assert line, "it ended"
            head.append(line)
        process.terminate()
        out, rest = process.communicate(timeout=30)
    finally:
        process.kill()
    lines = lines_of("".join(head) + rest)
    assert out == ""
    assert process.returncode == 0
    assert all({"time", "level", "message"} <= set(line) for line in lines)
    assert "canary-7" not in json.dumps(lines)

    source.execute(f"SELECT pg_drop_replication_slot('{source.name}')")
    ended = commitlog_run(source, "--log-format", "json")
    _, text = ended.communicate(timeout=30)
    last = lines_of(text)[-1]
    assert (last["level"], last["exit_code"]) == ("error", ended.returncode)
    assert "slot" in last["message"]
    assert last["hint"]


def test_a_worker_that_waits_for_a_silent_server_ends_at_once(source: Source) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(30)
        source.configure(f"postgresql://nobody@127.0.0.1:{silent.getsockname()[1]}/none")
        run = source.run()
        connection, _ = silent.accept()
        with connection:
            run.signal(signal.SIGINT)
            # The connection alone would be waited for longer.
            assert run.ended(6) == 0


def hang(run: Run, source: Source) -> int:
    """Hold a worker's thread by a schema that nobody finishes writing, until what is given is closed."""
    schemas = source.folder / "schemas"
    schemas.rename(source.folder / "away")
    os.mkfifo(schemas)
    run.signal(signal.SIGHUP)
    held: list[int] = []

    def reads() -> bool:
        with suppress(OSError):
            held.append(os.open(schemas, os.O_WRONLY | os.O_NONBLOCK))
        return bool(held)

    run.until(reads, "the worker to open its schemas")
    # A signal that comes just before a read is heard after it: this one is to be in the middle of one.
    os.write(held[0], b"\n")
    run.until(lambda: fcntl.ioctl(held[0], termios.FIONREAD, bytes(4)) == bytes(4), "the worker to read them")
    schemas.unlink()
    (source.folder / "away").rename(schemas)
    return held[0]


def test_a_second_interrupt_ends_a_worker_that_hangs_and_the_next_one_goes_on(source: Source) -> None:
    open_shop(source)
    run = source.run().streaming()
    run.until_caught_up()
    held = hang(run, source)
    run.signal(signal.SIGINT)
    run.until(lambda: "SIGINT: finishing" in run.output, "the first to be heard")
    run.signal(signal.SIGINT)
    assert run.ended() == 130
    os.close(held)
    run = source.run()
    run.until_marked()
    run.terminate()
    source.check()
