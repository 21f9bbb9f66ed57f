"""The reading commands on a log that a real worker writes while they read."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from commitlog.drivers import psycopg, session
from fixtures.worker import Source

REQUESTS = ("9d1e6f0a-1c1b-4c7e-8a55-0f2f4c3f8a11", "b0aaa82f-1994-4eeb-9aba-23a54e90f838")


def documents(source: Source, *arguments: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in source.commitlog(*arguments, "--json").stdout.splitlines()]


@pytest.fixture(autouse=True)
def shop() -> Iterator[None]:
    """What every tag of this process says, and no other test's."""
    session.configure(app="shop", version="1.4.0", build="sha256:9f2b")
    yield
    session.configure()


def test_who_set_each_field_is_known_from_the_request_to_the_user(source: Source) -> None:
    source.execute(
        "CREATE TABLE orders (id int PRIMARY KEY, status text, total numeric(10,2), placed timestamptz DEFAULT now())",
        "INSERT INTO orders VALUES (1, 'old', 1.50), (2, 'old', 2.50)",
    )
    source.map("Order", "orders")
    source.setup()
    run = source.run().streaming()
    run.until_snapshots()

    with psycopg.connect(source.url) as app:
        for request, statement in (
            (REQUESTS[0], "INSERT INTO orders VALUES (3, 'new', 3.50)"),
            (REQUESTS[1], "UPDATE orders SET status = 'paid' WHERE id IN (1, 3)"),
        ):
            with session.bind(request=request):
                app.execute(statement)
                app.commit()
    source.execute("UPDATE orders SET total = 9.00 WHERE id = 3", "DELETE FROM orders WHERE id = 2")
    run.until_marked()

    (source.folder / "access.json").write_text(
        "".join(
            json.dumps({"request_id": request, "user": user, "start_time": _now()}) + "\n"
            for request, user in zip(REQUESTS, ("ann", "ben"), strict=True)
        )
    )
    source.commitlog("sessions", "import", "access.json")
    run.until(lambda: len(source.history().of_kind("amend")) == 2, "both commits are amended")

    fields = {d["field"]: d["set_by"] for d in documents(source, "blame", "Order/3")}
    assert {name: by["build"] for name, by in fields.items() if by["user"]} == dict.fromkeys(
        ("id", "status", "placed"), "sha256:9f2b"
    )
    users = {name: by["user"] for name, by in fields.items()}
    assert users == {"id": "ann", "status": "ben", "total": None, "placed": "ann"}
    kinds = {d["field"]: d["set_by"]["kind"] for d in documents(source, "blame", "Order/1")}
    assert kinds == {"id": "snapshot", "status": "commit", "total": "snapshot", "placed": "snapshot"}
    assert documents(source, "blame", "Order/2")[0]["ended"] == "deleted"
    (commit,) = documents(source, "log", "--user", "ben")
    assert (commit["by"]["request"], commit["assurance"], len(commit["changes"])) == (REQUESTS[1], 2, 2)
    assert [d["assurance"] for d in documents(source, "log", "Order/3")] == [0, 2, 2]

    (status,) = documents(source, "status")
    assert (status["worker"]["running"], status["worker"]["pid"]) == (True, run.pid)
    assert status["source"]["slot_found"]
    assert status["source"]["active_pid"] is not None
    assert status["log"]["commits"]["2"] == 2
    assert status["sessions"] == {"records": 2, "uncompared": 0}
    assert [schema["app"] for schema in status["log"]["schemas"]] == ["shop"]

    before = status["log"]["head"]["seq"]
    source.execute("UPDATE orders SET status = 'sent'", "INSERT INTO orders VALUES (4, 'new', 0)")
    run.until_marked()
    rows = {row["key"]["id"]: row for row in documents(source, "diff", f"{before}..") if row["entity"] == "Order"}
    assert {key: row["what"] for key, row in rows.items()} == {1: "changed", 3: "changed", 4: "added"}
    assert (rows[1]["before"], rows[1]["after"]) == ({"status": "paid"}, {"status": "sent"})
    run.terminate()


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
