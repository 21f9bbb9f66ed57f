"""Several statements in one text: the app gets what the plain library gives, and each transaction in it has its tag."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from pymysql.constants import CLIENT

from commitlog.drivers import session
from fixtures.stamped import DRIVERS, StampLog

pytestmark = pytest.mark.parametrize("driver", DRIVERS[:2], indirect=True)

A, B, C, D = (f"INSERT INTO item VALUES ({number}, 'a')" for number in (1, 2, 3, 4))
AGAIN = "INSERT INTO item VALUES (1, 'a')"

SCRIPTS: dict[str, tuple[bool, list[str]]] = {
    # Of each script: whether in autocommit, and the changes of each transaction.
    f"{A}; {B}; SELECT * FROM item": (False, ["II"]),
    f"{A}; COMMIT; {B}; SELECT 1 -- all": (False, ["I", "I"]),
    f"BEGIN; {A}; {B}; COMMIT; SELECT 1": (True, ["II"]),
    f"{A}; SELECT 1; {B};": (True, ["I", "I"]),
    f"SELECT 'a;b', \"c;\"; {A} /* ; */ ; UPDATE item SET name = 'u'": (True, ["I", "U"]),
    f"{A}; {AGAIN}; {B}": (True, ["I"]),
    f"BEGIN; {A}; {AGAIN}; COMMIT": (True, ["I"]),
    f"BEGIN; {A}; ROLLBACK; {B}": (True, ["I"]),
    f"BEGIN; {A}; CREATE TABLE other (id INT); {B}": (True, ["I", "I"]),
    f"XA START 'x'; {A}; XA END 'x'; XA PREPARE 'x'; XA COMMIT 'x'": (True, ["I"]),
    "SELECT 1; SELECT 2": (True, []),
    f"{A}; SELECT nothing": (True, ["I"]),
    f"START TRANSACTION; {A}; SELECT COUNT(*) FROM item; {B}; COMMIT; {C}; {D}": (True, ["II", "I", "I"]),
}


def play(conn: Any, text: str, error: type[Exception]) -> list[Any]:
    seen: list[Any] = []
    with closing(conn), conn.cursor() as cursor:
        try:
            cursor.execute(text)
            while True:
                seen.append((cursor.fetchall(), cursor.rowcount, cursor.lastrowid, getattr(cursor, "warning_count", 0)))
                if not cursor.nextset():
                    break
        except error as raised:
            seen.append(raised.args[0])
        seen.append(conn.get_autocommit())
        conn.commit()
    return seen


def test_scripts_give_what_they_gave_and_are_tagged(stamp_log: StampLog) -> None:
    plain, wrapped = stamp_log.driver.plain, stamp_log.driver.wrapped
    for text, (autocommit, changes) in SCRIPTS.items():
        options = stamp_log.options(autocommit=autocommit, client_flag=CLIENT.MULTI_STATEMENTS)
        expected = play(plain.connect(**options), text, plain.MySQLError)
        assert [changes for _, changes in stamp_log.seen()] == changes
        stamp_log.server.query(f"TRUNCATE TABLE `{stamp_log.database}`.item")
        stamp_log.server.query(f"DROP TABLE IF EXISTS `{stamp_log.database}`.other")
        with session.bind(request="r"):
            assert play(wrapped.connect(**options), text, plain.MySQLError) == expected, text
        assert stamp_log.seen() == [(["r"], change) for change in changes], text
        stamp_log.server.query(f"TRUNCATE TABLE `{stamp_log.database}`.item")
        stamp_log.server.query(f"DROP TABLE IF EXISTS `{stamp_log.database}`.other")


@pytest.fixture
def conn(stamp_log: StampLog) -> Iterator[Any]:
    with closing(stamp_log.connect(autocommit=True, client_flag=CLIENT.MULTI_STATEMENTS)) as conn:
        yield conn


def test_what_is_open_after_a_script_is_its_transaction(stamp_log: StampLog, conn: Any) -> None:
    with conn.cursor() as cursor:
        with session.bind(request="r"):
            cursor.execute(f"BEGIN; {A}")
        with session.bind(request="s"):
            cursor.execute(B)
            conn.commit()
            cursor.execute(f"{C}; BEGIN")
        with session.bind(request="t"):
            cursor.execute(f"{D}; COMMIT")
    assert stamp_log.seen() == [(["r"], "II"), (["s"], "I"), (["t"], "I")]


def test_what_cannot_be_told_apart_works_and_is_counted(stamp_log: StampLog, conn: Any) -> None:
    before = session.counters()
    with session.bind(request="r"), conn.cursor() as cursor:
        cursor.execute(f"CALL add_items(); {A}")
        while cursor.nextset():
            pass
    what = "untagged: several statements in one text"
    assert session.counters()[what] == before.get(what, 0) + 1
    assert stamp_log.seen() == [([], "I"), ([], "I"), ([], "I")]
