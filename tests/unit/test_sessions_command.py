"""`commitlog sessions`: import, follow and list, as a user runs them."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from commitlog.cdc.cli import sessions as command
from commitlog.cdc.cli.main import main
from commitlog.cdc.sessions.store import Store
from commitlog.drivers import session as sessions
from commitlog.drivers.session import hash_session
from fixtures.patience import until

PROGRAM = "import sys; from commitlog.cdc.cli.main import main; sys.exit(main())"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test has the session key `k`."""
    monkeypatch.setenv("COMMITLOG_SESSION_KEY", "k")
    sessions.configure()
    yield
    monkeypatch.undo()
    sessions.configure()


def line(number: int, user: str = "ann") -> str:
    start = f"2026-11-22T10:11:{number:02}Z"
    return (
        json.dumps(
            {"x-request-id": f"r{number}", "user": user, "start_time": start, "path": "/o?q=1", "session": "raw"}
        )
        + "\n"
    )


def log_in(folder: Path) -> list[str]:
    return ["--log", f"file:{folder}/log#shop"]


def store_in(folder: Path) -> Path:
    return folder / "log" / "shop" / "sessions.sqlite"


def requests(folder: Path) -> list[str]:
    store = Store.open(store_in(folder))
    if store is None:
        return []
    with store:
        return [record.request for record in store.since(0, 1000)]


def test_a_file_is_imported_once_and_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "access.log"
    file.write_text(line(1) + "\n" + line(2) + line(2) + line(3, "bo").rstrip())
    assert main(["sessions", "import", str(file), *log_in(tmp_path)]) == 0
    assert capsys.readouterr().out == "3 session records added, 1 known already, 0 malformed\n"
    assert main(["sessions", "import", str(file), *log_in(tmp_path)]) == 0
    assert capsys.readouterr().out == "0 session records added, 4 known already, 0 malformed\n"

    assert main(["sessions", "list", *log_in(tmp_path), "--limit", "2"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["start", "user", "request", "method", "path", "status", "session"]
    hashed = hash_session("raw", b"k")
    assert [row.split() for row in rows] == [
        ["2026-11-22T10:11:02.000+00:00", "ann", "r2", "/o", hashed[:12]],
        ["2026-11-22T10:11:03.000+00:00", "bo", "r3", "/o", hashed[:12]],
    ]
    assert main(["sessions", "list", *log_in(tmp_path), "--json"]) == 0
    documents = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert [document["request"] for document in documents] == ["r1", "r2", "r3"]
    assert documents[0] == {
        "id": 1,
        "request": "r1",
        "trace_id": None,
        "user": "ann",
        "session": hashed,
        "start_us": 1_795_342_261_000_000,
        "end_us": 1_795_342_261_000_000,
        "method": None,
        "path": "/o",
        "status": None,
    }
    assert b"raw" not in store_in(tmp_path).read_bytes()


def test_malformed_lines_are_told_by_number_and_the_rest_is_imported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "access.log"
    file.write_text(line(1) + "{}\n" + line(2) + "not json \x1b[2J\n")
    assert main(["sessions", "import", str(file), *log_in(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert out == "2 session records added, 0 known already, 2 malformed\n"
    assert err == f"note: {file}:2: it has no request_id\nnote: {file}:4: it is not JSON\n"
    file.write_text("x\n" * 100)
    assert main(["sessions", "import", str(file), *log_in(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert "100 malformed" in out
    assert len(err.splitlines()) == 21


def test_without_a_key_session_ids_are_left_out_and_it_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COMMITLOG_SESSION_KEY")
    sessions.configure()
    file = tmp_path / "access.log"
    file.write_text(line(1) + line(2))
    assert main(["sessions", "import", str(file), *log_in(tmp_path)]) == 0
    assert "COMMITLOG_SESSION_KEY is not set: 2 session ids were left out" in capsys.readouterr().err


def test_what_cannot_be_read_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in (tmp_path / "none", tmp_path):
        assert main(["sessions", "import", str(file), *log_in(tmp_path)]) == 2
        assert capsys.readouterr().err.startswith(f"error: {file} ")
    assert main(["sessions", "list", *log_in(tmp_path)]) == 2
    assert "try: commitlog sessions import FILE" in capsys.readouterr().err
    assert not (tmp_path / "log").exists()


@contextmanager
def importing(folder: Path, *argv: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", PROGRAM, "sessions", "import", *argv, *log_in(folder)]
    running = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


def test_lines_of_a_pipe_are_stored_as_they_come_and_survive_a_kill(tmp_path: Path) -> None:
    with importing(tmp_path, "-") as running:
        assert running.stdin is not None
        running.stdin.write(line(1).encode() + line(2).encode()[:10])
        running.stdin.flush()
        until(lambda: requests(tmp_path) == ["r1"], "the records")
        running.stdin.write(line(2).encode()[10:])
        running.stdin.flush()
        until(lambda: requests(tmp_path) == ["r1", "r2"], "the records")
        running.kill()
        running.wait()
    assert requests(tmp_path) == ["r1", "r2"]


def test_a_growing_file_is_followed_across_rotation_and_cutting_until_sigterm(tmp_path: Path) -> None:
    file = tmp_path / "access.log"
    file.write_text(line(1))
    with importing(tmp_path, str(file), "--follow") as running:
        until(lambda: requests(tmp_path) == ["r1"], "the records")
        with file.open("a") as growing:
            growing.write(line(2)[:20])
            growing.flush()
            file.rename(tmp_path / "access.log.1")
            growing.write(line(2)[20:] + line(3))
        file.write_text(line(4))
        until(lambda: requests(tmp_path) == ["r1", "r2", "r3", "r4"], "the records")
        # Cut and begun anew; as with `tail -F`, only what is shorter than before can be told from what goes on.
        file.write_text('{"request_id":"r5"}\n')
        until(lambda: requests(tmp_path)[-1:] == ["r5"], "the records")
        running.send_signal(signal.SIGTERM)
        out, err = running.communicate(timeout=20)
        assert (running.returncode, out, err) == (0, b"5 session records added, 0 known already, 0 malformed\n", b"")


def test_what_is_written_to_a_rotated_file_at_the_last_moment_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "access.log"
    file.write_text("old\n")
    is_replaced = command._is_replaced

    def rotate_just_before(fd: int, name: str) -> bool:
        if not (tmp_path / "access.log.1").exists():
            file.rename(tmp_path / "access.log.1")
            with (tmp_path / "access.log.1").open("a") as late:
                late.write("late\n")
            file.write_text("new\n")
        return is_replaced(fd, name)

    monkeypatch.setattr(command, "_is_replaced", rotate_just_before)
    chunks = command._follow(os.open(file, os.O_RDONLY), str(file), threading.Event())
    assert [next(chunks) for _ in range(4)] == [b"old\n", b"late\n", b"", b"new\n"]
    chunks.close()
