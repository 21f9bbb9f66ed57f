"""The examples of tests/examples, each on the server it is meant for: what a request wrote, and the tag it carries."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect as open_socket

from commitlog.cdc.servers.ports import free_port
from commitlog.drivers import session
from fixtures.patience import until
from fixtures.tagged import Decoded, TagLog

EXAMPLES = Path(__file__).parents[1] / "examples"
KEY = "the key of the examples"

DJANGO = {"DJANGO_SETTINGS_MODULE": "django_notes.settings"}
UVICORN = ("-m", "uvicorn", "--log-level", "warning", "--port")
COMMANDS = {
    "fastapi": (*UVICORN, "{port}", "fastapi_notes:app"),
    "flask": ("-m", "flask", "--app", "flask_notes", "run", "--port", "{port}"),
    "django wsgi": ("-m", "django", "runserver", "--noreload", "{port}"),
    "django asgi": (*UVICORN, "{port}", "django_notes.asgi:application"),
}


class Site:
    """An example at work."""

    def __init__(self, port: int, log: TagLog) -> None:
        self.port = port
        self.log = log

    def ask(self, method: str, path: str, request: str | None, **headers: str) -> tuple[int, str]:
        """Send a request with an id; its status and body."""
        conn = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            named = {"x-request-id": request} if request else {}
            conn.request(method, path, headers={**named, **headers})
            response = conn.getresponse()
            return response.status, response.read().decode()
        finally:
            conn.close()

    def transactions(self, count: int) -> list[Decoded]:
        """The next `count` transactions, waited for: some are written after the response."""
        found: list[Decoded] = []

        def enough() -> bool:
            found.extend(self.log.read())
            return len(found) >= count

        until(enough, "a transaction")
        return found

    def written(self, count: int) -> list[tuple[list[Any], list[str | None]]]:
        """Of each of the next transactions, the requests that its tags name and the texts that it inserted."""
        return [(each.requests, [row[1] for row in each.inserted]) for each in self.transactions(count)]


@contextmanager
def site(log: TagLog, folder: Path, name: str) -> Iterator[Site]:
    port = free_port()
    command = [sys.executable, *(part.format(port=port) for part in COMMANDS[name])]
    env = {**os.environ, **DJANGO, "DATABASE_URL": log.url, "COMMITLOG_APP": name, "COMMITLOG_SESSION_KEY": KEY}
    env["PYTHONPATH"] = str(EXAMPLES)
    with (folder / "out").open("wb") as out:
        if name.startswith("django"):
            migrate = [sys.executable, "-m", "django", "migrate", "--verbosity", "0"]
            subprocess.run(migrate, cwd=EXAMPLES, env=env, check=True, timeout=50)
        process = subprocess.Popen(command, cwd=EXAMPLES, env=env, stdout=out, stderr=subprocess.STDOUT)
        try:
            opened = Site(port, log)
            until(lambda: answers(opened, process, folder / "out"), "an answer", 40)
            yield opened
        finally:
            process.terminate()
            process.wait(timeout=30)


def answers(opened: Site, process: "subprocess.Popen[bytes]", out: Path) -> bool:
    assert process.poll() is None, out.read_text()
    try:
        return opened.ask("GET", "/nowhere", None)[0] == 404
    except (OSError, HTTPException):
        return False


@pytest.fixture(params=COMMANDS)
def example(log: TagLog, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    with site(log, tmp_path, request.param) as opened:
        yield opened


def test_each_request_writes_under_its_own_id(example: Site, request: pytest.FixtureRequest) -> None:
    name = request.node.callspec.params["example"]
    started = [each for each in example.transactions(1) if each.inserted]
    assert [each.tags for each in started] == [[]] * len(started), "what happens at the start belongs to no request"
    assert ["1", "the first one"] in [row for each in started for row in each.inserted]

    assert example.ask("POST", "/notes?text=a", "r-1", cookie="session=s-1") == (
        200,
        "a" if name != "fastapi" else '"a"',
    )
    (transaction,) = example.transactions(1)
    tag = {"v": 1, "request": "r-1", "session": session.hash_session("s-1", KEY.encode()), "app": name}
    assert [json.loads(each) for each in transaction.tags] == [tag]
    assert [row[1] for row in transaction.inserted] == ["a"]

    assert example.ask("POST", "/notes?text=a", "r-2")[0] == 500, "the text is there already"
    assert example.ask("POST", "/notes?text=b", None)[0] == 200
    assert [each.inserted[0][1] for each in example.transactions(1) if "request" not in json.loads(each.tags[0])] == [
        "b"
    ]

    assert example.ask("POST", "/notes/later?text=c", "r-3")[0] == 200
    assert example.written(1) == [(["r-3"], ["c"])]

    status, body = example.ask("GET", "/notes?visitor=d", "r-4")
    assert (status, body) == (200, "the first one\na\nb\nc\n")
    assert example.written(1) == [(["r-4"], ["d"])]

    ids = [f"c-{number}" for number in range(40)]
    with ThreadPoolExecutor(8) as clients:
        sent = [clients.submit(example.ask, "POST", f"/notes?text={each}", each) for each in ids]
        assert {future.result(timeout=40)[0] for future in sent} == {200}
    assert sorted(example.written(40)) == sorted(([each], [each]) for each in ids)


def test_a_websocket_is_one_session_unless_a_message_is_bound_and_a_handlers_thread_has_its_requests(
    log: TagLog, tmp_path: Path
) -> None:
    with site(log, tmp_path, "fastapi") as opened:
        opened.transactions(1)
        url = f"ws://127.0.0.1:{opened.port}/feed"
        headers = {"x-request-id": "socket"}
        with open_socket(url, additional_headers=headers, open_timeout=20, close_timeout=20) as socket:
            for message in ("one", "message-2: two", "three"):
                socket.send(message)
                assert socket.recv(timeout=20) == message.removeprefix("message-2: ")
        assert opened.ask("POST", "/notes/sync?text=after", "r")[0] == 200
        written = [(["socket"], ["one"]), (["message-2"], ["two"]), (["socket"], ["three"])]
        assert opened.written(4) == [*written, (["r"], ["after"])]
