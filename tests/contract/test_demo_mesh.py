"""The demo's mesh does what a mesh in front of an app must: it knows who asks, and the app does not."""

import json
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import jsonschema
import pytest

from commitlog.cdc import json_schema
from commitlog.cdc.demo.mesh import ACCESS_LOG, ROUTES_FILE, USERS_FILE, Mesh
from commitlog.cdc.demo.user import User

TOKEN = "token-of-ann"


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the standard library
        """Nothing."""


def echo(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Answer with what an app can know of a request."""
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)).decode()
    seen = {name: value for name, value in environ.items() if name.startswith("HTTP_")}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"port": environ["SERVER_PORT"], "body": body, **seen}).encode()]


@pytest.fixture
def app() -> Iterator[int]:
    with make_server("127.0.0.1", 0, echo, handler_class=_Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture
def mesh(app: int, tmp_path: Path) -> Iterator[Mesh]:
    (tmp_path / USERS_FILE).write_text(json.dumps({TOKEN: "ann"}))
    (tmp_path / ROUTES_FILE).write_text(json.dumps({"stable": app}))
    with Mesh(tmp_path) as mesh:
        thread = threading.Thread(target=mesh.serve_forever)
        thread.start()
        yield mesh
        mesh.shutdown()
        thread.join()


@pytest.fixture
def ann(mesh: Mesh) -> Iterator[User]:
    user = User("ann", mesh.server_port, TOKEN)
    yield user
    user.close()


def access_log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / ACCESS_LOG).read_text().splitlines()]


def test_the_app_learns_the_request_and_neither_the_user_nor_the_token(ann: User) -> None:
    answer = ann.do("PUT", "/x", {"status": "paid"})

    assert answer.document["HTTP_X_REQUEST_ID"] == answer.request
    assert answer.document["HTTP_TRACEPARENT"].startswith("00-")
    assert answer.document["body"] == '{"status": "paid"}'
    text = json.dumps(answer.document)
    assert "ann" not in text
    assert TOKEN not in text


def test_what_a_client_says_in_the_meshs_name_is_dropped(ann: User) -> None:
    forged = {"x-request-id": "forged", "traceparent": "forged", "x-forwarded-user": "forged"}
    ann._headers.update(forged)

    assert "forged" not in json.dumps(dict(ann.do("GET", "/x").document))


def test_an_unknown_token_gets_nowhere(mesh: Mesh, tmp_path: Path) -> None:
    stranger = User("eve", mesh.server_port, "guessed")

    answer = stranger.ask("GET", "/x")
    stranger.close()

    assert answer.status == 401
    assert [(line["user"], line["upstream_host"]) for line in access_log(tmp_path)] == [(None, None)]


def test_each_answered_request_has_its_line_as_session_records_want_it(ann: User, tmp_path: Path) -> None:
    answers = [ann.do("GET", "/a"), ann.do("PUT", "/b", {})]

    lines = access_log(tmp_path)

    assert [(line["request_id"], line["user"], line["path"]) for line in lines] == [
        (answer.request, "ann", path) for answer, path in zip(answers, ("/a", "/b"), strict=True)
    ]
    for line in lines:
        jsonschema.validate(line, json_schema.read("session"))
