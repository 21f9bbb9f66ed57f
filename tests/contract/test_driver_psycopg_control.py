"""The wrapped psycopg where transaction control is given as text: whose the transaction is stays right."""

from typing import Any

import psycopg as plain
import pytest

from commitlog.drivers import psycopg, session
from fixtures.tagged import TagLog


def test_a_begin_inside_a_transaction_changes_nothing(log: TagLog, conn: psycopg.Connection[Any]) -> None:
    with session.bind(request="first"):
        conn.execute("INSERT INTO item VALUES (1, 'a')")
        conn.execute("BEGIN")  # the server only warns
    with session.bind(request="second"):
        conn.execute("INSERT INTO item VALUES (2, 'a')")
    conn.commit()
    with session.bind(request="third"):
        conn.execute("INSERT INTO item VALUES (3, 'a')")
        conn.execute("BEGIN")
    conn.commit()
    assert log.seen() == [(["first"], "II"), (["third"], "I")]


def test_the_end_of_a_functions_body_is_no_commit(log: TagLog, conn: psycopg.Connection[Any]) -> None:
    with session.bind(request="r"):
        conn.execute("INSERT INTO item VALUES (1, 'a')")
        conn.execute("CREATE FUNCTION two() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END")
    conn.commit()
    assert log.seen() == [(["r"], "I")]


def test_a_failed_end_keeps_the_session_where_a_savepoint_saves_the_transaction(
    log: TagLog, conn: psycopg.Connection[Any]
) -> None:
    with session.bind(request="r"):
        conn.execute("INSERT INTO item VALUES (1, 'a')")
        conn.execute("SAVEPOINT a")
        for wrong in ("COMMIT NOW", "PREPARE TRANSACTION 5", "ROLLBACK LATER"):
            with pytest.raises(psycopg.errors.SyntaxError):
                conn.execute(wrong)
            conn.execute("ROLLBACK TO a")
    conn.commit()
    assert log.seen() == [(["r"], "I")]


def test_what_follows_a_commit_as_text_in_a_pipeline_is_tagged(log: TagLog, conn: psycopg.Connection[Any]) -> None:
    with session.bind(request="r"), conn.pipeline():
        conn.execute("INSERT INTO item VALUES (1, 'a')")
        conn.execute("COMMIT")
        conn.execute("INSERT INTO item VALUES (2, 'a')")
    assert log.seen() == [(["r"], "I")] * 2


def test_a_busy_connection_refuses_a_commit_as_in_plain_psycopg(log: TagLog) -> None:
    def attempt(library: Any) -> str:
        with plain.connect(log.url) as other, library.connect(log.url) as conn, session.bind(request="r"):
            conn.execute("INSERT INTO item VALUES (1, 'a')")
            other.execute("SELECT 1")
            with conn.cursor().copy("COPY item TO STDOUT"):
                pass  # left unread
            with pytest.raises(psycopg.OperationalError) as caught:
                conn.commit()
            conn.close()
            return str(caught.value)

    assert attempt(psycopg) == attempt(plain)


def test_scripts_leave_a_transaction_to_the_request_that_began_it(log: TagLog, conn: psycopg.Connection[Any]) -> None:
    with session.bind(request="first"):
        conn.execute("INSERT INTO item VALUES (1, 'a')")
    with session.bind(request="second"):
        conn.execute("UPDATE item SET name = 'b'; COMMIT; BEGIN; INSERT INTO item VALUES (2, 'a')")
    with session.bind(request="third"):
        conn.execute("INSERT INTO item VALUES (3, 'a'); COMMIT AND CHAIN")
        conn.execute("INSERT INTO item VALUES (4, 'a')")
    conn.commit()
    conn.execute("SELECT 1")  # of nobody
    with session.bind(request="fourth"):
        conn.execute("INSERT INTO item VALUES (5, 'a'); END; INSERT INTO item VALUES (6, 'a')")
    conn.commit()
    assert log.seen() == [(["first"], "IU"), (["second"], "II"), (["third"], "I"), ([], "I"), (["fourth"], "I")]


def test_a_script_that_goes_back_to_a_savepoint_is_tagged_where_the_transaction_had_failed(
    log: TagLog, conn: psycopg.Connection[Any]
) -> None:
    with session.bind(request="r"):
        conn.execute("INSERT INTO item VALUES (1, 'a')")
        conn.execute("SAVEPOINT a")
        with pytest.raises(psycopg.errors.SyntaxError):
            conn.execute("nonsense")
        conn.execute("ROLLBACK TO a; INSERT INTO item VALUES (2, 'a'); COMMIT")
    assert log.seen() == [(["r"], "II")]
