"""Session records of the mesh before, after and against their commits: who made a commit, told once and never twice."""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import apsw
import pytest

from commitlog.cdc.sessions.store import Store, path_of
from fixtures.requests import access_log, amends_of, by_of, tag, write
from fixtures.worker import Run, Source

REQUEST = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def shop(source: Source) -> Source:
    source.execute("CREATE TABLE orders (id int PRIMARY KEY, status text)")
    source.map("Order", "orders")
    return source.setup()


def told(source: Source, *lines: dict[str, object]) -> None:
    """Import what the mesh tells."""
    path = access_log(source.folder / "access.log", *lines)
    source.commitlog("sessions", "import", str(path))


def line(request: str = REQUEST, user: str = "ann", **more: object) -> dict[str, object]:
    return {"request_id": request, "user": user, **more}


def order(source: Source, number: int, request: str = REQUEST, **more: object) -> int:
    return write(source, tag(request, **more), f"INSERT INTO orders VALUES ({number}, 'new')")


def compared(source: Source) -> bool:
    """Whether the worker has compared every session record with the log."""
    with Store.open(path_of(source.location), create=True) as store:
        return store.amended_through() == store.max_rowid()


def until_compared(source: Source, run: Run) -> None:
    run.until(lambda: compared(source), "the comparison of session records")


def documents(source: Source, *argv: str) -> list[dict[str, Any]]:
    return [json.loads(text) for text in source.commitlog(*argv, "--json").stdout.splitlines()]


def test_a_record_imported_before_its_commit_gives_user_and_assurance_at_once(shop: Source) -> None:
    told(shop, line())
    run = shop.run().streaming()
    xid = order(shop, 1)
    run.until_marked()
    run.terminate()

    assert (by_of(shop, xid)["assurance"], by_of(shop, xid)["user"]) == (2, "ann")
    assert amends_of(shop, xid) == []


def test_a_commit_that_a_worker_finds_when_it_starts_gets_the_record_that_was_there(shop: Source) -> None:
    told(shop, line())
    run = shop.run().streaming()
    until_compared(shop, run)
    run.terminate()
    xid = order(shop, 1)

    run = shop.run()
    run.until_marked()
    run.terminate()

    assert (by_of(shop, xid)["assurance"], by_of(shop, xid)["user"]) == (2, "ann")


def test_a_record_imported_after_its_commit_gives_one_amend_whatever_is_imported_or_restarted_later(
    shop: Source,
) -> None:
    run = shop.run().streaming()
    first, other = order(shop, 1), order(shop, 2, "another request")
    run.until_marked()
    told(shop, line())
    run.until(lambda: amends_of(shop, first), "the amend record")
    run.terminate()

    told(shop, line())
    run = shop.run().streaming()
    told(shop, line(), line("unknown", "bo"), line(status=200))
    until_compared(shop, run)
    run.kill()
    run = shop.run().streaming()
    told(shop, line("unknown", "bo", status=200))
    until_compared(shop, run)
    second = order(shop, 3)
    run.until_marked()
    run.terminate()

    assert by_of(shop, first)["assurance"] == 1
    (amended,) = amends_of(shop, first)
    assert (amended["assurance"], amended["user"], amended["request"]) == (2, "ann", REQUEST)
    assert amends_of(shop, other) == []
    assert (by_of(shop, second)["assurance"], amends_of(shop, second)) == (2, [])
    shop.check()


@contextmanager
def write_locked(source: Source) -> Iterator[None]:
    """Nobody else writes to the store of session records, and everybody reads it."""
    connection = apsw.Connection(str(path_of(source.location)))
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


def test_a_worker_killed_between_an_amend_and_its_mark_makes_no_second_one(shop: Source) -> None:
    run = shop.run().streaming()
    xid = order(shop, 1)
    run.until_marked()

    run.signal(signal.SIGSTOP)
    told(shop, line())
    with write_locked(shop):
        run.signal(signal.SIGCONT)
        run.until(lambda: amends_of(shop, xid), "the amend record")
        run.kill()
    assert not compared(shop)

    run = shop.run().streaming()
    until_compared(shop, run)
    run.terminate()
    assert len(amends_of(shop, xid)) == 1
    shop.check()


def test_a_record_of_another_trace_corroborates_nothing(shop: Source) -> None:
    told(shop, line(traceparent=f"00-{'a' * 32}-{'b' * 16}-01"))
    run = shop.run().streaming()
    claimed = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
    before = order(shop, 1, **claimed)
    late = order(shop, 2, "late", **claimed)
    run.until_marked()
    told(shop, line("late", trace_id="c" * 32))
    until_compared(shop, run)
    run.terminate()

    for xid in (before, late):
        assert by_of(shop, xid)["assurance"] == 1
        assert "user" not in by_of(shop, xid)
        assert amends_of(shop, xid) == []


def test_log_show_and_blame_say_what_the_last_amend_says(shop: Source) -> None:
    run = shop.run().streaming()
    xid = order(shop, 1, user="mallory")
    run.until_marked()
    assert [d["by"]["user"] for d in documents(shop, "log", "Order/1") if d["kind"] == "commit"] == ["mallory"]
    told(shop, line())
    run.until(lambda: amends_of(shop, xid), "the amend record")
    run.terminate()

    (commit,) = [d for d in documents(shop, "log", "Order/1") if d["kind"] == "commit"]
    assert (commit["assurance"], commit["by"]["user"], commit["by"]["claims"]) == (2, "ann", {"user": "mallory"})
    (shown,) = documents(shop, "show", str(commit["seq"]))
    assert (shown["by"], shown["amended_by"]) == (commit["by"], commit["amended_by"])
    blamed = documents(shop, "blame", "Order/1")
    assert {(field["set_by"]["assurance"], field["set_by"]["user"]) for field in blamed} == {(2, "ann")}
    assert "ann" in shop.commitlog("log", "--oneline").stdout
    (by_user,) = documents(shop, "log", "--user", "ann")
    assert by_user["seq"] == commit["seq"]


def test_a_shared_log_holds_pseudonyms_and_no_name_request_session_or_trace(shop: Source) -> None:
    user, liar, session = "kim.lee@mesh", "mal.lory@mesh", "5e" * 32
    more = {"session": session, "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "user": liar}
    told(shop, line(user=user, trace_id=TRACE))
    run = shop.run(log__visibility="shared").streaming()
    early, late = order(shop, 1, **more), order(shop, 2, "late.request", **more)
    run.until_marked()
    told(shop, line("late.request", user, trace_id=TRACE))
    run.until(lambda: amends_of(shop, late), "the amend record")
    run.terminate()

    (amended,) = amends_of(shop, late)
    at_once = by_of(shop, early)
    assert at_once["assurance"] == amended["assurance"] == 2
    assert at_once["user"] == amended["user"]
    assert at_once["claims"] == amended["claims"] == {"user": by_of(shop, late)["user"]}
    assert at_once["request"] != amended["request"]
    held = b"".join(path.read_bytes() for path in shop.location.segments.iterdir())
    for name in (user, liar, REQUEST, REQUEST.replace("-", ""), "late.request", session, TRACE):
        assert name.encode() not in held
    shop.check()
