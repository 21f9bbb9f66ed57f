"""What an app asks a wrapped driver of MySQL or MariaDB afterwards: warnings, errors and what may be written are the plain library's."""

from contextlib import closing, suppress
from typing import Any

import pytest

from commitlog.drivers import session
from fixtures.stamped import DRIVERS, StampLog, run

pytestmark = pytest.mark.parametrize("driver", DRIVERS, indirect=True)

WARNS, FAILS = "INSERT IGNORE INTO item VALUES (2, 'too long')", "INSERT INTO item VALUES (1, 'a')"


def test_warnings_are_there_after_the_stamp(stamp_log: StampLog, auto: Any) -> None:
    with session.bind(request="r"), auto.cursor() as cursor:
        cursor.execute("INSERT IGNORE INTO item VALUES (1, 'too long')")
        assert getattr(cursor, "warning_count", 1) == 1
        (warning,) = auto.show_warnings()
        assert warning[1] == 1265
        cursor.execute("SHOW WARNINGS")
        assert cursor.fetchall() == (warning,)
        cursor.execute("SELECT 1 FROM item")
        assert auto.show_warnings() == ()
    assert stamp_log.seen() == [(["r"], "I")]


def test_the_error_of_a_statement_is_there_after_its_block(stamp_log: StampLog, auto: Any) -> None:
    with session.bind(request="r"):
        run(auto, "INSERT INTO item VALUES (1, 'a')")
        with pytest.raises(stamp_log.driver.plain.IntegrityError):
            run(auto, "INSERT INTO item VALUES (1, 'a')")
        assert [warning[1] for warning in auto.show_warnings()] == [1062]
        assert [warning[1] for warning in run(auto, "SHOW WARNINGS")] == [1062]


@pytest.mark.parametrize(
    "script",
    [
        ("BEGIN", WARNS, "COMMIT"),
        ("BEGIN", FAILS, WARNS, "COMMIT"),
        ("BEGIN", FAILS, FAILS, "COMMIT"),
        ("BEGIN", FAILS, FAILS, "BEGIN"),
        ("BEGIN", FAILS, WARNS, "BEGIN", "SELECT 1"),
        ("BEGIN", FAILS, WARNS, "DO 0", "COMMIT", "SELECT 1"),
        ("BEGIN", WARNS, FAILS, "SELECT * FROM item", "COMMIT"),
        ("BEGIN", WARNS, "INSERT INTO item VALUES (3, 'b')", "COMMIT"),
        (WARNS, "SELECT 1"),
        (WARNS, "COMMIT"),
        (WARNS, "SELECT * FROM item"),
        (FAILS, FAILS, "SELECT 1"),
    ],
)
@pytest.mark.parametrize("on_untagged", ["warn", "raise"])
@pytest.mark.parametrize("by_method", [False, True], ids=["texts", "methods"])
def test_who_asks_for_warnings_late_gets_what_the_plain_library_gives(
    stamp_log: StampLog,
    monkeypatch: pytest.MonkeyPatch,
    on_untagged: session.OnUntagged,
    by_method: bool,
    script: tuple[str, ...],
) -> None:
    monkeypatch.setattr(session, "_settings", session.Settings(None, None, None, on_untagged, None))
    seen: list[Any] = []
    for connect in (stamp_log.driver.plain.connect, stamp_log.driver.wrapped.connect):
        with closing(connect(**stamp_log.options(autocommit=True))) as conn, session.bind(request="r"):
            run(conn, "DELETE FROM item")
            for statement in script:
                if by_method and statement in ("BEGIN", "COMMIT"):
                    getattr(conn, statement.lower())()
                    continue
                with suppress(stamp_log.driver.plain.IntegrityError):
                    run(conn, statement)
            seen.append((run(conn, "SHOW WARNINGS"), conn.show_warnings()))
    assert seen[1] == seen[0]


@pytest.mark.parametrize(
    "before",
    [
        ("SET TRANSACTION READ ONLY",),
        ("SET autocommit = 0", "START TRANSACTION READ ONLY", "SET autocommit = 1"),
        ("SET completion_type = 'CHAIN'", "SET TRANSACTION READ ONLY"),
    ],
)
def test_what_may_only_read_may_only_read_up_to_a_commit(stamp_log: StampLog, before: tuple[str, ...]) -> None:
    for connect in (stamp_log.driver.plain.connect, stamp_log.driver.wrapped.connect):
        with closing(connect(**stamp_log.options(autocommit=True))) as conn, session.bind(request="r"):
            run(conn, *before)
            for _ in range(3):
                with pytest.raises(stamp_log.driver.plain.MySQLError, match="READ ONLY"):
                    run(conn, "INSERT INTO item (name) VALUES ('a')")
            run(conn, "COMMIT AND NO CHAIN", "INSERT INTO item (name) VALUES ('a')")
            conn.rollback()
    assert stamp_log.seen() == [([], "I"), (["r"], "I")]
