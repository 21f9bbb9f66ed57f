"""The wrapped psycopg where it may not tag: a commit never fails for want of a tag, unless `on_untagged` says raise."""

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg as plain
import pytest

from commitlog.cdc.servers.local import PostgresServer
from commitlog.drivers import psycopg, psycopg_stamp, session
from fixtures.postgres import POSTGRES_VERSIONS, QUICK
from fixtures.tagged import TagLog, tag_log

NO_PRIVILEGE = "no privilege to execute pg_logical_emit_message"


@pytest.fixture
def log(own_log: TagLog) -> TagLog:
    """Who may run a function of the system is said in each database."""
    return own_log


@pytest.fixture
def role(log: TagLog) -> Iterator[str]:
    """A role that may write the tables, in a database where PUBLIC may not emit."""
    name = f"r_{secrets.token_hex(6)}"
    with plain.connect(log.url, autocommit=True) as conn:
        conn.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'p'")
        conn.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}")
        for signature in signatures(conn):
            conn.execute(f"REVOKE EXECUTE ON FUNCTION {signature} FROM PUBLIC")
    yield name
    with plain.connect(log.url, autocommit=True) as conn:
        conn.execute(f"DROP OWNED BY {name}")
        conn.execute(f"DROP ROLE {name}")


def signatures(conn: plain.Connection[Any]) -> list[str]:
    rows = conn.execute("SELECT oid::regprocedure::text FROM pg_proc WHERE proname = 'pg_logical_emit_message'")
    return [row[0] for row in rows]


def grant(log: TagLog, role: str, verb: str = "GRANT") -> None:
    with plain.connect(log.url, autocommit=True) as conn:
        for signature in signatures(conn):
            to = "TO" if verb == "GRANT" else "FROM"
            conn.execute(f"{verb} EXECUTE ON FUNCTION {signature} {to} {role}")


def as_role(log: TagLog, role: str) -> str:
    parts = urlsplit(log.url)
    return parts._replace(netloc=f"{role}:p@{parts.netloc.rpartition('@')[2]}").geturl()


def counted(why: str = NO_PRIVILEGE) -> int:
    return session.counters().get(f"untagged: {why}", 0)


@pytest.fixture
def policy(monkeypatch: pytest.MonkeyPatch) -> Callable[[session.OnUntagged], None]:
    """A function that sets `on_untagged` for the rest of the test."""

    def set_policy(on_untagged: session.OnUntagged) -> None:
        monkeypatch.setattr(session, "_settings", session.Settings(None, None, None, on_untagged, None))

    return set_policy


def write_everywhere(conn: Any) -> None:
    """Write once in each way that has a code path of its own: five transactions."""
    conn.execute("INSERT INTO item VALUES (1, 'a')")
    conn.commit()
    conn.autocommit = True
    conn.execute("INSERT INTO item VALUES (2, 'a')")
    conn.execute("INSERT INTO item VALUES (3, 'a'); SELECT 1")
    conn.cursor().executemany("INSERT INTO item VALUES (%s, 'a')", [(4,)])
    with conn.cursor().copy("COPY item FROM STDIN") as copy:
        copy.write_row((5, "a"))


def test_without_the_privilege_everything_works_untagged_and_is_counted(log: TagLog, role: str) -> None:
    before = counted()
    with psycopg.connect(as_role(log, role)) as conn, session.bind(request="r"):
        write_everywhere(conn)
        conn.execute("SELECT 1")
        with conn.transaction():
            conn.execute("SELECT * FROM item")
    assert log.seen() == [([], "I")] * 5
    assert counted() == before + 5


def test_raise_refuses_each_write_before_it_happens_and_no_read(
    log: TagLog, role: str, policy: Callable[[session.OnUntagged], None]
) -> None:
    policy("raise")
    with psycopg.connect(as_role(log, role)) as conn, session.bind(request="r"):
        conn.execute("SELECT * FROM item")
        conn.commit()
        conn.execute("INSERT INTO item VALUES (1, 'a')")
        with pytest.raises(psycopg.Untagged, match=NO_PRIVILEGE):
            conn.commit()
        assert conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        conn.autocommit = True
        for refused in (
            lambda: conn.execute("INSERT INTO item VALUES (1, 'a')"),
            lambda: conn.cursor().executemany("INSERT INTO item VALUES (%s, 'a')", [(4,)]),
            lambda: conn.cursor().copy("COPY item FROM STDIN").__enter__(),
            lambda: conn.execute("DO $$ BEGIN INSERT INTO item VALUES (1, 'a'); END $$"),
        ):
            with pytest.raises(psycopg.NotSupportedError, match="cannot be tagged"):
                refused()
            assert conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        conn.execute("SELECT * FROM item")
    with psycopg.connect(as_role(log, role)) as conn:
        write_everywhere(conn)  # no session is bound, so nothing is missing
    assert log.seen() == [([], "I")] * 5


def test_warn_warns_and_goes_on(log: TagLog, role: str, policy: Callable[[session.OnUntagged], None]) -> None:
    policy("warn")
    with psycopg.connect(as_role(log, role)) as conn, session.bind(request="r"):
        conn.execute("INSERT INTO item VALUES (1, 'a')")
        with pytest.warns(session.TagWarning, match=NO_PRIVILEGE):
            conn.commit()
    assert log.seen() == [([], "I")]


def test_a_role_of_its_own_with_the_privilege_tags_and_set_role_cannot_break_a_commit(log: TagLog, role: str) -> None:
    grant(log, role)
    before = counted()
    with psycopg.connect(as_role(log, role)) as conn, session.bind(request="r"):
        write_everywhere(conn)
    assert log.seen() == [(["r"], "I")] * 5
    with psycopg.connect(log.url) as conn, session.bind(request="r"):
        conn.execute("INSERT INTO item VALUES (6, 'a')")
        conn.commit()
        grant(log, role, "REVOKE")
        conn.execute(f"SET LOCAL ROLE {role}")
        conn.execute("INSERT INTO item VALUES (7, 'a')")
        conn.commit()
        conn.autocommit = True
        conn.execute(f"SET ROLE {role}")
        conn.execute("INSERT INTO item VALUES (8, 'a')")
    assert log.seen() == [(["r"], "I"), ([], "I"), ([], "I")]
    assert counted() == before + 2


def test_a_privilege_taken_away_from_everyone_fails_one_commit_whole_and_is_asked_again(log: TagLog, role: str) -> None:
    """It was asked before use, so this cannot be told in time; what matters is that nothing is half done."""
    grant(log, "PUBLIC")
    before = counted()
    with psycopg.connect(as_role(log, role)) as conn, session.bind(request="r"):
        conn.execute("INSERT INTO item VALUES (1, 'a')")
        conn.commit()
        grant(log, "PUBLIC", "REVOKE")
        conn.execute("INSERT INTO item VALUES (2, 'a')")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.commit()
        assert conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        conn.execute("INSERT INTO item VALUES (3, 'a')")
        conn.commit()
    assert log.seen() == [(["r"], "I"), ([], "I")]
    assert counted() == before + 1


def test_an_old_server_is_not_asked(log: TagLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psycopg_stamp, "SERVER_VERSION_MIN", 990000)
    why = "the server is older than PostgreSQL 14"
    before = counted(why)
    with psycopg.connect(log.url) as conn, session.bind(request="r"):
        write_everywhere(conn)
    assert log.seen() == [([], "I")] * 5
    assert counted(why) == before + 5


def test_reading_on_a_read_only_connection_never_asks_to_write(log: TagLog) -> None:
    with psycopg.connect(log.url, options="-c default_transaction_read_only=on") as conn, session.bind(request="r"):
        conn.execute("SELECT * FROM item")
        conn.commit()
        conn.autocommit = True
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            conn.execute("INSERT INTO item VALUES (1, 'a')")
    assert log.seen() == []


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("autocommit", [False, True])
def test_a_cut_connection_raises_as_in_plain_psycopg(log: TagLog, autocommit: bool, warm: bool) -> None:
    def attempt(library: Any) -> Any:
        with library.connect(log.url, autocommit=autocommit) as conn, session.bind(request="r"):
            conn.execute("DELETE FROM item" if warm else "SELECT 1")
            with plain.connect(log.url, autocommit=True) as other:
                other.execute("SELECT pg_terminate_backend(%s, 5000)", (conn.info.backend_pid,))
            with pytest.raises(plain.Error) as caught:
                conn.execute("INSERT INTO item VALUES (1, 'a')") if autocommit else conn.commit()
            return type(caught.value), conn.closed, conn.broken

    assert attempt(psycopg) == attempt(plain)
    assert log.seen() == []


@pytest.mark.parametrize("version", POSTGRES_VERSIONS)
def test_every_supported_server_takes_the_tag(version: str, tmp_path: Path, unique: str) -> None:
    if version == "18":
        pytest.skip("the server of every other test")
    with PostgresServer.start(settings=QUICK, version=version) as server:
        url = server.create_database(unique)
        with tag_log(url, unique) as log:
            with psycopg.connect(url) as conn, session.bind(request="r"):
                write_everywhere(conn)
            assert log.seen() == [(["r"], "I")] * 5
