"""What the wrapped mysqlclient takes to be in hand: where that is not certain it says so, so that no open transaction is taken for none."""

import pytest

from commitlog.drivers.mysql_statement import Kind, kind
from commitlog.drivers.mysqlclient_transaction import BelievedTransaction


def after(*texts: str, autocommit: bool = True) -> BelievedTransaction:
    """What is believed after statements that ran; `!` in front of one that failed."""
    now = BelievedTransaction()
    for text in texts:
        failed, statement = text.startswith("!"), text.removeprefix("!").encode()
        of, lone = kind(statement), autocommit and not now.open
        if not lone:
            now.take(of, statement, None)
        autocommit = {"SET autocommit = 0": False, "SET autocommit = 1": True}.get(text, autocommit)
        if failed:
            now.failed(of, statement, 1062, lone=lone, autocommit=autocommit)
        else:
            now.ran(of, statement, lone=lone, autocommit=autocommit)
    return now


CERTAIN = {
    # Of what ran in autocommit: whether a transaction is open, and whether it wrote.
    "": (False, False),
    "INSERT INTO t VALUES (1)": (False, False),
    "BEGIN": (True, False),
    "BEGIN; SELECT 1": (True, False),
    "BEGIN; INSERT INTO t VALUES (1)": (True, True),
    "BEGIN; !INSERT INTO t VALUES (1)": (True, False),
    "BEGIN; INSERT INTO t VALUES (1); SAVEPOINT s; ROLLBACK TO s": (True, True),
    "BEGIN; INSERT INTO t VALUES (1); COMMIT": (False, False),
    "BEGIN; INSERT INTO t VALUES (1); BEGIN": (True, False),
    "BEGIN; INSERT INTO t VALUES (1); ROLLBACK": (False, False),
    "BEGIN; UNLOCK TABLES": (True, False),
    "CREATE TABLE t (id INT)": (False, False),
    "SET autocommit = 0; INSERT INTO t VALUES (1)": (False, True),
    "SET autocommit = 0; INSERT INTO t VALUES (1); SET autocommit = 1": (False, False),
    "BEGIN; INSERT INTO t VALUES (1); SET autocommit = 0": (True, True),
    "CALL p(); COMMIT": (False, False),
}


@pytest.mark.parametrize("script", CERTAIN)
def test_statements_tell_what_is_in_hand(script: str) -> None:
    now = after(*filter(None, script.split("; ")))
    assert not now.doubtful
    assert (now.open, now.wrote) == CERTAIN[script]


@pytest.mark.parametrize(
    "script",
    [
        "CALL p()",
        "EXECUTE s",
        "COMMIT AND CHAIN",
        "COMMIT AND CHAIN; SET autocommit = 1",
        "COMMIT AND CHAIN; CREATE TABLE t (id INT)",
        "COMMIT AND CHAIN; !CREATE TABLE t (id INT)",
        "COMMIT AND CHAIN; INSERT INTO t VALUES (1)",
        "SET completion_type = 'CHAIN'; BEGIN; COMMIT",
        "BEGIN; CREATE TABLE t (id INT)",
        "BEGIN; !CREATE TABLE t (id INT)",
        "BEGIN; !COMMIT",
        "BEGIN; SET autocommit = 1",
        "SET autocommit = 0; START TRANSACTION READ ONLY; SET autocommit = 1",
        "XA START 'x'; XA END 'x'; XA PREPARE 'x'",
        "XA START 'x'; XA END 'x'; XA PREPARE 'x'; XA COMMIT 'x'",
    ],
)
def test_what_statements_do_not_tell_is_doubtful(script: str) -> None:
    assert after(*script.split("; ")).doubtful


def test_locked_tables_are_known_until_they_are_not() -> None:
    assert after("LOCK TABLES t WRITE").locked
    assert not after("LOCK TABLES t WRITE", "UNLOCK TABLES").locked
    assert not after("LOCK TABLES t WRITE", "BEGIN").locked
    assert after("BEGIN", "INSERT INTO t VALUES (1)").ends_by(Kind.COMMIT, b"COMMIT")
    assert not after("BEGIN").ends_by(kind("UNLOCK TABLES"), b"UNLOCK TABLES")
    assert after("LOCK TABLES t WRITE").ends_by(kind("UNLOCK TABLES"), b"UNLOCK TABLES")
