"""Requests of commands reach the writer, and its answers reach them, each once; what is no request harms nobody."""

import json
import os
import threading
import time
from pathlib import Path

import pytest

from commitlog.cdc.log.embedded import Writer
from commitlog.cdc.log.inbox import Inbox, Request, submit
from commitlog.cdc.log.location import Location
from commitlog.schemas.errors import Locked, Refused, SchemaError, Unreachable, UsageError
from fixtures.patience import until


@pytest.fixture
def location(tmp_path: Path) -> Location:
    location = Location(tmp_path / "logs", "shop")
    Writer.open(location, memory=None).close()
    return location


def serve(location: Location, count: int, reply: object) -> threading.Thread:
    """A writer that answers `count` requests with a result, or refuses them with an error."""

    def run() -> None:
        inbox, left = Inbox(location, every_s=0.01), count
        deadline = time.monotonic() + 10
        while left and time.monotonic() < deadline:
            for request in inbox.pending():
                left -= 1
                if isinstance(reply, Exception):
                    request.refuse(reply)  # type: ignore[arg-type] # the errors of these tests are ours
                else:
                    request.answer({"seq": len(request.payload), "kind": request.kind})
            time.sleep(0.005)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def files(location: Location) -> list[str]:
    return sorted(path.name for path in location.inbox.iterdir())


def test_a_request_is_answered_and_leaves_nothing_behind(location: Location) -> None:
    thread = serve(location, 1, "done")
    assert submit(location, "schema", b"\x00\xff" * 50) == {"seq": 100, "kind": "schema"}
    thread.join(timeout=10)
    assert files(location) == []


def test_many_commands_at_once_each_get_their_own_answer(location: Location) -> None:
    thread = serve(location, 8, "done")
    results: dict[int, object] = {}
    commands = [
        threading.Thread(target=lambda n=n: results.__setitem__(n, submit(location, "schema", b"x" * n)["seq"]))
        for n in range(8)
    ]
    for command in commands:
        command.start()
    for command in [*commands, thread]:
        command.join(timeout=10)
    assert results == {n: n for n in range(8)}
    assert files(location) == []


@pytest.mark.parametrize("error", [SchemaError("bad field", hint="see line 3"), Locked("x"), UsageError("y", hint="z")])
def test_a_refusal_is_raised_as_the_error_it_was(location: Location, error: Refused) -> None:
    thread = serve(location, 1, error)
    with pytest.raises(type(error)) as failure:
        submit(location, "schema", b"")
    assert (str(failure.value), failure.value.hint) == (str(error), error.hint)
    thread.join(timeout=10)
    assert files(location) == []


def test_a_request_nobody_answers_is_taken_back(location: Location) -> None:
    with pytest.raises(Unreachable, match=r"did not answer within 0\.05 s") as failure:
        submit(location, "schema", b"", timeout_s=0.05)
    assert failure.value.exit_code == 5
    assert Inbox(location).pending() == []
    assert files(location) == []


def test_a_request_waits_for_a_writer_that_comes_later(location: Location) -> None:
    answers: list[object] = []
    command = threading.Thread(target=lambda: answers.append(submit(location, "schema", b"abc")["seq"]))
    command.start()
    until(lambda: files(location), "the request")
    serve(location, 1, "done").join(timeout=10)
    command.join(timeout=10)
    assert answers == [3]


def test_requests_come_oldest_first_and_stay_until_they_are_answered(location: Location) -> None:
    for name, kind in (("2", "b"), ("1", "a"), ("3", "c")):
        (location.inbox / f"{name}.request").write_text(json.dumps({"kind": kind, "payload": ""}))
    for _ in range(2):
        assert [request.kind for request in Inbox(location).pending()] == ["a", "b", "c"]


def test_the_folder_is_looked_at_no_more_often_than_asked(location: Location) -> None:
    seldom, often = Inbox(location, every_s=3600), Inbox(location, every_s=0.02)
    assert seldom.pending() == often.pending() == []
    (location.inbox / "1.request").write_text('{"kind":"a","payload":""}')
    assert seldom.pending() == []
    found: list[Request] = []
    until(lambda: found.extend(often.pending()) or found, "the request")
    assert [request.kind for request in found] == ["a"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"kind":1,"payload":""}',
        b'{"kind":"a"}',
        b'{"kind":"a","payload":"*"}',
        b'{"kind":"a","payload":5}',
        b"\xff",
        b"[" * 9999,
    ],
)
def test_what_is_no_request_is_refused_and_out_of_the_way(location: Location, data: bytes) -> None:
    (location.inbox / "1.request").write_bytes(data)
    (location.inbox / "2.request").write_text('{"kind":"a","payload":""}')
    assert [request.kind for request in Inbox(location).pending()] == ["a"]
    assert files(location) == ["1.answer", "2.request"]
    assert "is not a request" in (location.inbox / "1.answer").read_text()


def test_a_file_half_written_is_no_request_yet(location: Location) -> None:
    (location.inbox / "1.new").write_text('{"kind":')
    assert Inbox(location).pending() == []
    assert files(location) == ["1.new"]


def test_answers_nobody_fetched_are_cleared_after_an_hour(location: Location) -> None:
    old = time.time() - 7200
    for name in ("1.answer", "2.new", "3.request", "4.answer"):
        (location.inbox / name).write_text('{"kind":"a","payload":""}')
        if name != "4.answer":
            os.utime(location.inbox / name, (old, old))
    Inbox(location)
    assert files(location) == ["3.request", "4.answer"]


def test_an_inbox_opens_while_commands_come_and_go(location: Location) -> None:
    stop = threading.Event()

    def come_and_go() -> None:
        while not stop.is_set():
            with pytest.raises(Unreachable):
                submit(location, "a", b"", timeout_s=0)

    commands = [threading.Thread(target=come_and_go) for _ in range(2)]
    for command in commands:
        command.start()
    try:
        for _ in range(300):
            assert {request.kind for request in Inbox(location).pending()} <= {"a"}
    finally:
        stop.set()
        for command in commands:
            command.join(timeout=10)
    assert files(location) == []


def test_an_answer_can_be_given_again_after_a_crash(location: Location) -> None:
    request = Request("a", b"", location.inbox / "1.request")
    (location.inbox / "1.new").write_text("half an ans")
    request.answer({"seq": 1})
    request.answer({"seq": 1})
    assert files(location) == ["1.answer"]


def test_requests_are_for_their_owner_only(location: Location) -> None:
    with pytest.raises(Unreachable):
        submit(location, "a", b"", timeout_s=0)
    Request("a", b"", location.inbox / "1.request").answer({})
    assert (location.inbox / "1.answer").stat().st_mode & 0o777 == 0o600
    assert location.inbox.stat().st_mode & 0o777 == 0o700


def test_a_log_that_is_not_there_and_a_request_too_large_are_usage_errors(location: Location, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no log"):
        submit(Location(tmp_path, "other"), "a", b"")
    with pytest.raises(UsageError, match="above the limit"):
        submit(location, "a", b"x" * (17 << 20))
