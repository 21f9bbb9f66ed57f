"""Whatever an app does, it gets from a wrapped driver what the plain one gives, and the log holds the same changes."""

from contextlib import closing
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from commitlog.cdc.servers.binlog import connect
from commitlog.drivers import session
from fixtures.stamped import DRIVERS, StampLog

STATEMENTS = (
    "INSERT INTO item (name) VALUES ('a')",
    "INSERT INTO item VALUES (1, 'one') ON DUPLICATE KEY UPDATE name = 'two'",
    "INSERT INTO item VALUES (1, 'a')",
    "INSERT IGNORE INTO item VALUES (1, 'too long')",
    "INSERT INTO item VALUES (NULL, 'b'), (NULL, 'too long')",
    "REPLACE INTO item VALUES (2, 'r')",
    "UPDATE item SET name = 'u' WHERE id > 1",
    "UPDATE item SET name = 'u' WHERE id = 99999",
    "DELETE FROM item WHERE id % 2 = 0",
    "SELECT id, name FROM item ORDER BY id",
    "SELECT * FROM item WHERE id = 1 FOR UPDATE",
    "SELECT @@autocommit, LAST_INSERT_ID()",
    "SHOW WARNINGS",
    "SELECT add_item(NULL)",
    "SET @x = add_item(NULL)",
    "CALL add_items()",
    "CALL commit_items()",
    "BEGIN",
    "START TRANSACTION READ ONLY",
    "COMMIT",
    "COMMIT AND CHAIN",
    "ROLLBACK",
    "SAVEPOINT s",
    "ROLLBACK TO s",
    "SET autocommit = 0",
    "SET autocommit = 1",
    "SET completion_type = 'CHAIN'",
    "SET completion_type = 'NO_CHAIN'",
    "CREATE TABLE IF NOT EXISTS other (id INT)",
    "TRUNCATE TABLE other",
    "INSERT INTO plain VALUES (1)",
    "LOCK TABLES item WRITE, plain WRITE",
    "UNLOCK TABLES",
    "XA START 'x'",
    "XA END 'x'",
    "XA PREPARE 'x'",
    "XA COMMIT 'x'",
    "XA ROLLBACK 'x'",
    "nonsense",
    "",
)
BESIDE, BY_ITSELF = "INSERT INTO plain VALUES (1)", "CALL commit_items()"
"""What is logged at once, and alone; and a procedure that commits by itself, of which only PyMySQL hears."""
METHODS = ("commit", "rollback", "begin", "autocommit on", "autocommit off", "many", "warnings", "ping")

actions = st.lists(
    st.tuples(
        st.sampled_from((*STATEMENTS, *STATEMENTS[:4], *METHODS, "commit", "commit")),
        st.sampled_from(("buffered", "buffered", "unbuffered")),
    ),
    max_size=14,
)


class App:
    """A connection, and what an app sees of what it does with it."""

    def __init__(self, log: StampLog, library: Any) -> None:
        self.plain = log.driver.plain
        self.conn = library.connect(**log.options(read_timeout=10))

    def play(self, action: str, kind: str) -> Any:
        try:
            seen = self._method(action) if action in METHODS else self._statement(action, kind)
        except self.plain.MySQLError as error:
            seen = (type(error).__name__, error.args[0])
        status = self.conn.server_status & 0x201 if self.plain.__name__ == "pymysql" else None
        return action, seen, self.conn.get_autocommit(), status

    def _method(self, action: str) -> Any:
        conn = self.conn
        match action.split():
            case ["autocommit", value]:
                return conn.autocommit(value == "on")
            case ["warnings"]:
                return conn.show_warnings()
            case ["many"]:
                with closing(conn.cursor()) as cursor:
                    done = cursor.executemany("INSERT INTO item (name) VALUES (%s)", [("x",), ("y",)])
                    return done, cursor.rowcount, cursor.lastrowid
            case _:
                return getattr(conn, action)()

    def _statement(self, text: str, kind: str) -> Any:
        conn, cursors = self.conn, self.plain.cursors
        seen: list[Any] = []
        with closing(conn.cursor(cursors.SSCursor if kind == "unbuffered" else cursors.DictCursor)) as cursor:
            cursor.execute(text)
            while True:
                rows = list(cursor.fetchall()) if cursor.description else None
                seen.append((rows, cursor.rowcount, cursor.lastrowid, cursor.description, self._counters(cursor)))
                if not cursor.nextset():
                    return seen, self._counters(cursor)

    def _counters(self, cursor: Any) -> Any:
        conn = self.conn
        if self.plain.__name__ == "pymysql":
            return cursor.warning_count, conn.affected_rows()
        return conn.warning_count(), conn.affected_rows(), conn.insert_id(), conn.info(), conn.field_count()


def clean(log: StampLog) -> None:
    """Empty tables, and no transaction that somebody prepared."""
    with closing(connect(log.server.url)) as conn, conn.cursor() as cursor:
        cursor.execute("XA RECOVER")
        for row in cursor.fetchall():
            cursor.execute(f"XA ROLLBACK '{row[3]}'")
        cursor.execute(f"TRUNCATE TABLE `{log.database}`.item")
        cursor.execute(f"TRUNCATE TABLE `{log.database}`.plain")
        cursor.execute(f"DROP TABLE IF EXISTS `{log.database}`.other")
    log.read()


def counted() -> int:
    return sum(count for what, count in session.counters().items() if what.startswith("untagged"))


@pytest.mark.parametrize("driver", DRIVERS, indirect=True)
@settings(max_examples=18, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions)
def test_the_wrapped_library_gives_what_the_plain_one_does(stamp_log: StampLog, script: list[tuple[str, str]]) -> None:
    # With autocommit off nobody tells mysqlclient that a procedure left nothing to be stamped, and a stamp begins a transaction.
    assume(stamp_log.driver.plain.__name__ == "pymysql" or not {BY_ITSELF, "XA START 'x'"} <= set(dict(script)))
    clean(stamp_log)
    app = App(stamp_log, stamp_log.driver.plain)
    with closing(app.conn):
        expected = [app.play(*action) for action in script]
    expected_log = [logged.changes for logged in stamp_log.read()]
    clean(stamp_log)
    before = counted()
    app = App(stamp_log, stamp_log.driver.wrapped)
    with closing(app.conn), session.bind(request="r"):
        for action, result in zip(script, expected, strict=True):
            assert app.play(*action) == result
    found = stamp_log.read()
    assert [logged.changes for logged in found if logged.changes] == expected_log
    # Where each end begins the next one, nobody tells that a procedure committed.
    chains = "SET completion_type = 'CHAIN'" in dict(script)
    hears = stamp_log.driver.plain.__name__ == "pymysql" and not chains
    uncounted = {BESIDE} if hears else {BESIDE, BY_ITSELF}
    if counted() == before and not uncounted & set(dict(script)):
        assert all(logged.requests == ["r"] * len(logged.requests) and logged.requests for logged in found)
