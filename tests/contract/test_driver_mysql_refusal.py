"""What a wrapped driver does where the stamp is refused after all: nothing is half done, and the app's error is the app's."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pymysql
import pytest

from commitlog.drivers import session
from fixtures.stamped import DRIVERS, StampLog

both = pytest.mark.parametrize("driver", DRIVERS, indirect=True)


@contextmanager
def broken_stamp(log: StampLog) -> Iterator[None]:
    """The table goes away behind the back of a connection that has found it."""
    log.server.query("RENAME TABLE commitlog.stamp TO commitlog.gone")
    try:
        yield
    finally:
        log.server.query("RENAME TABLE commitlog.gone TO commitlog.stamp")


def write(conn: Any, number: int) -> None:
    with conn.cursor() as cursor:
        cursor.execute("INSERT INTO item VALUES (%s, 'a')", (number,))


@both
@pytest.mark.parametrize("on_untagged", ["allow", "raise"])
def test_a_stamp_refused_in_autocommit_is_counted_or_takes_the_statement_with_it(
    stamp_log: StampLog, monkeypatch: pytest.MonkeyPatch, on_untagged: session.OnUntagged
) -> None:
    monkeypatch.setattr(session, "_settings", session.Settings(None, None, None, on_untagged, None))
    with closing(stamp_log.connect(autocommit=True)) as conn, session.bind(request="r"):
        with broken_stamp(stamp_log):
            if on_untagged == "raise":
                with pytest.raises(stamp_log.driver.wrapped.Untagged):
                    write(conn, 1)
            else:
                write(conn, 1)
        assert conn.get_autocommit()
        write(conn, 2)
    assert stamp_log.seen() == ([] if on_untagged == "raise" else [([], "I")]) + [(["r"], "I")]


@both
def test_a_connection_that_found_no_stamp_says_that_a_new_one_looks_again(
    stamp_log: StampLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_settings", session.Settings(None, None, None, "raise", None))
    with broken_stamp(stamp_log):
        early = stamp_log.connect(autocommit=True)
    with closing(early), session.bind(request="r"):
        with pytest.raises(stamp_log.driver.wrapped.Untagged, match="and a new connection looks again"):
            write(early, 1)
        with closing(stamp_log.connect(autocommit=True)) as conn:
            write(conn, 2)
    assert stamp_log.seen() == [(["r"], "I")]


@both
def test_ddl_is_not_sent_where_what_it_would_commit_must_be_tagged_and_cannot(
    stamp_log: StampLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_settings", session.Settings(None, None, None, "raise", None))
    with closing(stamp_log.connect()) as conn, session.bind(request="r"), conn.cursor() as cursor:
        write(conn, 1)
        with broken_stamp(stamp_log), pytest.raises(stamp_log.driver.wrapped.Untagged):
            cursor.execute("CREATE TABLE other (id INT)")
        cursor.execute("SHOW TABLES LIKE 'other'")
        assert cursor.fetchall() == ()
        conn.commit()
    assert stamp_log.seen() == [(["r"], "I")]


@both
def test_a_connection_that_is_gone_says_so_as_the_plain_one_does(stamp_log: StampLog) -> None:
    with closing(stamp_log.connect(autocommit=True)) as conn, session.bind(request="r"):
        stamp_log.server.query(f"KILL {conn.thread_id()}")
        plain = stamp_log.driver.plain
        with pytest.raises(plain.OperationalError):
            write(conn, 1)
        for act in (conn.commit, conn.rollback, conn.begin, lambda: write(conn, 1)):
            with pytest.raises((plain.InterfaceError, plain.OperationalError)):
                act()
    assert stamp_log.seen() == []


def test_a_server_that_tells_nothing_of_transactions_is_written_to_untagged(
    stamp_log: StampLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain_information = pymysql.connections.Connection._get_server_information

    def old(conn: Any) -> None:
        plain_information(conn)
        conn.server_capabilities &= ~(1 << 23)

    monkeypatch.setattr(pymysql.connections.Connection, "_get_server_information", old)
    before = session.counters()
    with closing(stamp_log.connect(autocommit=True)) as conn, session.bind(request="r"), conn.cursor() as cursor:
        cursor.execute("SELECT name FROM item")
        assert cursor.fetchall() == ()
        write(conn, 1)
        conn.begin()
        write(conn, 2)
        conn.commit()
        cursor.execute("INSERT IGNORE INTO item VALUES (3, 'too long')")
        assert len(conn.show_warnings()) == 1
    what = "untagged: the server does not tell what a transaction wrote"
    assert session.counters()[what] > before.get(what, 0)
    assert stamp_log.seen() == [([], "I"), ([], "I"), ([], "I")]
