"""The wrapped PyMySQL and mysqlclient: one tag in each transaction that writes, none elsewhere, read back from the server's log."""

import json
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import Any

import pytest

from commitlog.cdc.servers.binlog import BinlogServer
from commitlog.drivers import pymysql, session
from commitlog.drivers.mysql_stamp import LOCKED
from fixtures.stamped import DRIVERS, ROW, StampLog, run

pytestmark = pytest.mark.parametrize("driver", DRIVERS, indirect=True)

OnUntagged = session.OnUntagged


@pytest.fixture
def conn(stamp_log: StampLog) -> Iterator[Any]:
    conn = stamp_log.connect()
    yield conn
    with suppress(stamp_log.driver.plain.Error):
        conn.close()


@pytest.fixture
def policy() -> Iterator[Callable[[OnUntagged], None]]:
    yield lambda on_untagged: session.configure(on_untagged=on_untagged) and None
    session.configure()


def assert_none_open(conn: Any, log: StampLog) -> None:
    """No transaction is left open: a savepoint does not outlive one."""
    run(conn, "SAVEPOINT s")
    with pytest.raises(log.driver.plain.OperationalError, match="SAVEPOINT s"):
        run(conn, "RELEASE SAVEPOINT s")


def untagged() -> dict[str, int]:
    return {what: count for what, count in session.counters().items() if what.startswith("untagged")}


def test_each_transaction_that_writes_has_one_tag(stamp_log: StampLog, conn: Any) -> None:
    for number, request in enumerate(("one", "two"), 1):
        with session.bind(request=request):
            run(conn, f"INSERT INTO item VALUES ({number}, 'a')", f"UPDATE item SET name = 'b' WHERE id = {number}")
            conn.commit()
    assert stamp_log.seen() == [(["one"], "IU"), (["two"], "IU")]


def test_the_one_row_of_a_connection_carries_the_tag_where_there_is_no_blackhole(
    make_stamp_log: Callable[..., StampLog],
) -> None:
    log = make_stamp_log(ROW)
    with closing(log.connect()) as conn:
        for request in ("one", "one", "two"):
            with session.bind(request=request):
                run(conn, "INSERT INTO item (name) VALUES ('a')")
                conn.commit()
            assert run(conn, "SELECT LAST_INSERT_ID() = MAX(id) FROM item") == ((1,),)
            conn.rollback()
    with closing(log.connect(autocommit=True)) as conn, session.bind(request="three"):
        run(conn, "INSERT INTO item (name) VALUES ('a')")
    assert log.seen() == [(["one"], "I"), (["one"], "I"), (["two"], "I"), (["three"], "I")]


def test_a_row_is_of_a_connection_and_its_server(make_stamp_log: Callable[..., StampLog]) -> None:
    """Members of a cluster have connections of the same numbers, whose transactions would fail each other by one row."""
    log = make_stamp_log(ROW)
    with closing(log.connect(autocommit=True)) as conn, session.bind(request="r"):
        run(conn, "INSERT INTO item (name) VALUES ('a')")
        ((number, host, port),) = run(conn, "SELECT CONNECTION_ID(), @@hostname, @@port")
    assert log.server.query("SELECT conn FROM commitlog.stamp") == (zlib.crc32(host.encode()) ^ port) << 32 | number


def test_a_transaction_that_only_reads_writes_nothing(stamp_log: StampLog, conn: Any) -> None:
    with session.bind(request="r"):
        run(conn, "SELECT * FROM item")
        conn.commit()
        run(conn, "SELECT * FROM item FOR UPDATE")
        conn.commit()
        run(conn, "START TRANSACTION READ ONLY", "SELECT * FROM item")
        conn.commit()
    assert stamp_log.seen() == []


def test_a_rolled_back_transaction_leaves_no_rows_and_no_tag(stamp_log: StampLog, conn: Any) -> None:
    with session.bind(request="r"):
        run(conn, "INSERT INTO item VALUES (1, 'a')")
        conn.rollback()
        run(conn, "INSERT INTO item VALUES (1, 'a')", "ROLLBACK")
        conn.commit()
        run(conn, "INSERT INTO item VALUES (1, 'a')")
        conn.close()
    assert stamp_log.seen() == []


def test_unlocking_tables_ends_no_transaction_where_none_is_locked(stamp_log: StampLog, conn: Any) -> None:
    with session.bind(request="r"):
        run(conn, "INSERT INTO item VALUES (1, 'a')", "UNLOCK TABLES", "INSERT INTO item VALUES (2, 'a')")
        conn.commit()
    assert stamp_log.seen() == [(["r"], "II")]


def test_the_session_of_the_first_statement_is_the_transactions(stamp_log: StampLog, conn: Any) -> None:
    conn.begin()
    with session.bind(request="first"):
        run(conn, "SELECT 1")
    with session.bind(request="second"):
        run(conn, "INSERT INTO item VALUES (1, 'a')")
        conn.commit()
    run(conn, "SELECT 1 FROM item")
    with session.bind(request="late"):
        run(conn, "INSERT INTO item VALUES (2, 'a')")
        conn.commit()
        run(conn, "BEGIN")
    with session.bind(request="after BEGIN"):
        run(conn, "INSERT INTO item VALUES (3, 'a')")
    conn.commit()
    run(conn, "BEGIN")
    with session.bind(request="after a BEGIN of nobody"):
        run(conn, "INSERT INTO item VALUES (4, 'a')")
    conn.commit()
    assert stamp_log.seen() == [
        (["first"], "I"),
        ([], "I"),
        (["after BEGIN"], "I"),
        (["after a BEGIN of nobody"], "I"),
    ]


ENDS = (
    "COMMIT",
    "commit /* it */ work",
    "BEGIN",
    "START TRANSACTION",
    "SET autocommit = 1",
    "CREATE TABLE other (id INT)",
    "TRUNCATE plain",
    "LOCK TABLES item WRITE",
    "COMMIT AND CHAIN",
    "GRANT SELECT ON item TO CURRENT_USER()",
    "/*!50000 DROP TABLE */ other",
    "ANALYZE TABLE item",
)


def test_whatever_commits_is_preceded_by_the_stamp(stamp_log: StampLog, conn: Any) -> None:
    for number, end in enumerate(ENDS):
        with session.bind(request=end):
            run(conn, f"INSERT INTO item VALUES ({number}, 'a')".replace("(0,", "(100,"))
            try:
                run(conn, end)
            except stamp_log.driver.plain.OperationalError:
                assert end.startswith("GRANT")  # who may not grant has committed all the same
            run(conn, "ROLLBACK", "UNLOCK TABLES", "SET autocommit = 0")
    assert stamp_log.seen() == [([end], "I") for end in ENDS]


@pytest.mark.parametrize("write", ["UPDATE item SET name = 'b'", "/* slowly */ UPDATE item SET name = 'b'"])
def test_a_write_behind_locks_is_tagged(stamp_log: StampLog, auto: Any, write: str) -> None:
    """The server counts locks that a query took as writing, and a stamp for those alone would be noise."""
    run(auto, "INSERT INTO item VALUES (1, 'a')")
    with session.bind(request="r"):
        run(auto, "BEGIN", "SELECT * FROM item FOR UPDATE", write)
        auto.commit()
        run(auto, "BEGIN", "SELECT * FROM item FOR UPDATE")
        auto.commit()
    assert stamp_log.seen() == [([], "I"), (["r"], "U")]


def test_a_statement_that_commits_and_then_fails_has_ended_the_transaction(stamp_log: StampLog, auto: Any) -> None:
    with session.bind(request="r"):
        run(auto, "BEGIN", "INSERT INTO item VALUES (1, 'a')")
        with pytest.raises(stamp_log.driver.plain.OperationalError, match="exists"):
            run(auto, "CREATE TABLE item (id INT)")
        run(auto, "INSERT INTO item VALUES (2, 'a')")
    run(auto, "BEGIN", "INSERT INTO item VALUES (3, 'a')")
    with pytest.raises(stamp_log.driver.plain.OperationalError, match="exists"):
        run(auto, "CREATE TABLE item (id INT)")
    with session.bind(request="s"):
        run(auto, "INSERT INTO item VALUES (4, 'a')")
    assert stamp_log.seen() == [(["r"], "I"), (["r"], "I"), ([], "I"), (["s"], "I")]


def test_after_a_deadlock_the_next_transaction_is_another(stamp_log: StampLog) -> None:
    with closing(stamp_log.connect()) as conn, closing(stamp_log.connect()) as other:
        run(other, "INSERT INTO item VALUES (1, 'a'), (2, 'b')")
        other.commit()
        stamp_log.read()
        run(other, "UPDATE item SET name = 'o' WHERE id = 2", "INSERT INTO item VALUES (5, 'a'), (6, 'a'), (7, 'a')")
        with session.bind(request="lost"):
            run(conn, "UPDATE item SET name = 'c' WHERE id = 1")
            thread = threading.Thread(target=run, args=(other, "UPDATE item SET name = 'o' WHERE id = 1"))
            thread.start()
            with pytest.raises(stamp_log.driver.plain.OperationalError, match="Deadlock"):
                run(conn, "UPDATE item SET name = 'c' WHERE id = 2")
            thread.join(30)
        other.commit()
        with session.bind(request="next"):
            run(conn, "INSERT INTO item VALUES (3, 'a')")
            conn.commit()
    assert stamp_log.seen() == [([], "UIIIU"), (["next"], "I")]


def test_methods_that_commit_are_preceded_by_the_stamp(stamp_log: StampLog, conn: Any) -> None:
    with session.bind(request="r"):
        run(conn, "INSERT INTO item VALUES (1, 'a')")
        conn.begin()
        run(conn, "INSERT INTO item VALUES (2, 'a')")
        conn.autocommit(True)
    assert conn.get_autocommit()
    assert stamp_log.seen() == [(["r"], "I"), (["r"], "I")]


def test_an_xa_transaction_is_stamped_before_its_work_ends(stamp_log: StampLog, auto: Any) -> None:
    name = stamp_log.database
    with session.bind(request="r"):
        run(auto, f"XA START '{name}'", "INSERT INTO item VALUES (1, 'a')", f"XA END '{name}'", f"XA PREPARE '{name}'")
        run(auto, f"XA COMMIT '{name}'")
        run(auto, f"XA START '{name}'", "INSERT INTO item VALUES (2, 'a')", f"XA END '{name}'")
        run(auto, f"XA COMMIT '{name}' ONE PHASE")
        run(auto, f"XA START '{name}'", "SELECT * FROM item", f"XA END '{name}'", f"XA COMMIT '{name}' ONE PHASE")
    assert stamp_log.seen() == [(["r"], "I"), (["r"], "I")]


def test_a_procedure_with_results_is_tagged_with_its_transaction(stamp_log: StampLog, conn: Any) -> None:
    with session.bind(request="r"), conn.cursor() as cursor:
        cursor.callproc("add_items")
        results = [cursor.fetchall()]
        while cursor.nextset():
            results.append(cursor.fetchall())
        conn.commit()
    assert results[:2] == [((1,),), (("p",),)]
    assert stamp_log.seen() == [(["r"], "II")]


def test_a_function_in_a_query_is_tagged(stamp_log: StampLog, conn: Any) -> None:
    with session.bind(request="r"):
        assert run(conn, "SELECT add_item(1)") == ((1,),)
        conn.commit()
        with conn.cursor(stamp_log.driver.plain.cursors.SSCursor) as cursor:
            cursor.execute("SELECT add_item(7)")
        run(conn, "CREATE TABLE other (id INT)")
        conn.autocommit(True)
        assert run(conn, "SELECT add_item(2)") == ((2,),)
        with conn.cursor(stamp_log.driver.plain.cursors.SSCursor) as cursor:
            cursor.execute("SELECT add_item(3) UNION ALL SELECT add_item(4)")
            assert list(cursor.fetchall()) == [(3,), (4,)]
        run(conn, "DO add_item(5)", "SET @x = add_item(6)")
    assert stamp_log.seen() == [(["r"], changes) for changes in ("I", "I", "I", "II", "I", "I")]


def test_each_statement_of_autocommit_is_tagged(stamp_log: StampLog, auto: Any) -> None:
    with session.bind(request="r"), auto.cursor() as cursor:
        assert cursor.execute("INSERT INTO item (name) VALUES ('a')") == 1
        assert cursor.lastrowid == 1
        assert cursor.executemany("INSERT INTO item (name) VALUES (%s)", [("b",), ("c",), ("d",)]) == 3
        assert cursor.execute("UPDATE item SET name = 'z' WHERE id > 2") == 2
        assert cursor.execute("DELETE FROM item WHERE id = 1") == 1
        assert cursor.execute("REPLACE INTO item VALUES (2, 'y')") == 2
        cursor.execute("SELECT * FROM item")
        assert auto.get_autocommit()
        assert_none_open(auto, stamp_log)
    run(auto, "INSERT INTO item (name) VALUES ('a')")
    assert stamp_log.seen() == [
        (["r"], "I"),
        (["r"], "III"),
        (["r"], "UU"),
        (["r"], "D"),
        (["r"], "U"),
        ([], "I"),
    ]


def test_a_statement_that_fails_in_autocommit_logs_nothing_and_leaves_nothing_open(
    stamp_log: StampLog, auto: Any
) -> None:
    run(auto, "INSERT INTO item VALUES (1, 'a')")
    stamp_log.read()
    with session.bind(request="r"):
        for statement in (
            "INSERT INTO item VALUES (2, 'a'), (1, 'a')",
            "INSERT INTO missing VALUES (1)",
            "INSERT oops",
        ):
            with pytest.raises(stamp_log.driver.plain.MySQLError):
                run(auto, statement)
            assert run(auto, "SELECT COUNT(*) FROM item") == ((1,),)
            assert_none_open(auto, stamp_log)
    assert stamp_log.seen() == []


def test_a_statement_of_several_packets_is_tagged(mysql_server: BinlogServer, stamp_log: StampLog) -> None:
    if stamp_log.server is not mysql_server or stamp_log.driver.wrapped is not pymysql:
        return  # MariaDB takes no packet as large as that, and mysqlclient's library makes them
    with closing(stamp_log.connect(autocommit=True)) as conn, session.bind(request="r"):
        run(conn, "CREATE TABLE large (it LONGBLOB)")
        for more in (-1, 0, 1, 2**20):
            run(conn, f"INSERT INTO large VALUES ('{'x' * (2**24 + more - len('?INSERT INTO large VALUES ()') - 1)}')")
        assert run(conn, "SELECT COUNT(*), MIN(LENGTH(it)) > 16000000 FROM large") == ((4, 1),)
    assert stamp_log.seen() == [(["r"], "I")] * 4


def test_load_data_local_is_tagged(stamp_log: StampLog, tmp_path: Any) -> None:
    rows = tmp_path / "rows"
    rows.write_text("1\ta\n2\tb\n")
    with closing(stamp_log.connect(autocommit=True, local_infile=True)) as conn, session.bind(request="r"):
        run(conn, f"LOAD DATA LOCAL INFILE '{rows}' INTO TABLE item")
        conn.begin()
        run(conn, f"LOAD DATA LOCAL INFILE '{rows}' REPLACE INTO TABLE item")
        conn.commit()
        with pytest.raises(stamp_log.driver.plain.MySQLError, match="missing"):
            run(conn, "LOAD DATA LOCAL INFILE '/missing' INTO TABLE item")
    assert [requests for requests, _ in stamp_log.seen()] == [["r"], ["r"]]


def test_what_a_session_has_not_bound_is_plain(stamp_log: StampLog, conn: Any) -> None:
    run(conn, "INSERT INTO item VALUES (1, 'a')")
    conn.commit()
    conn.autocommit(True)
    run(conn, "INSERT INTO item VALUES (2, 'a')")
    assert stamp_log.seen() == [([], "I"), ([], "I")]


def test_a_tag_comes_through_as_it_is_whatever_sql_mode_and_charset_say(stamp_log: StampLog) -> None:
    request = 'it\'s "q" \\ é \u2603'
    for mode in ("", "NO_BACKSLASH_ESCAPES,ANSI_QUOTES"):
        with closing(stamp_log.connect(sql_mode=mode, charset="latin1")) as conn, session.bind(request=request):
            run(conn, "INSERT INTO item (name) VALUES ('a')")
            conn.commit()
    assert stamp_log.seen() == [([request], "I"), ([request], "I")]


def test_each_thread_has_its_own_session(stamp_log: StampLog) -> None:
    def work(number: int) -> None:
        with closing(stamp_log.connect()) as conn:
            for at in range(10):
                with session.bind(request=str(number)):
                    run(conn, f"INSERT INTO item VALUES ({number * 100 + at}, '{number}')")
                    conn.commit()

    threads = [threading.Thread(target=work, args=(number,)) for number in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(requests for requests, _ in stamp_log.seen()) == [["1"]] * 10 + [["2"]] * 10 + [["3"]] * 10


def test_a_new_connection_by_ping_asks_the_server_again(stamp_log: StampLog, conn: Any) -> None:
    with session.bind(request="r"):
        run(conn, "INSERT INTO item VALUES (1, 'a')")
        stamp_log.server.query(f"KILL {conn.thread_id()}")
        with pytest.raises(stamp_log.driver.plain.OperationalError):
            conn.commit()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            conn.ping(True)
    with session.bind(request="s"):
        run(conn, "INSERT INTO item VALUES (2, 'a')")
        conn.commit()
    assert stamp_log.seen() == [(["s"], "I")]


@pytest.mark.parametrize("autocommit", [False, True])
def test_without_the_stamp_table_on_untagged_decides(
    make_stamp_log: Callable[..., StampLog], policy: Callable[[OnUntagged], None], autocommit: bool
) -> None:
    log = make_stamp_log(None)

    def write(conn: Any) -> None:
        run(conn, "INSERT INTO item (name) VALUES ('a')")
        conn.commit()

    with closing(log.connect(autocommit=autocommit)) as conn, session.bind(request="r"):
        before = sum(untagged().values())
        write(conn)
        assert sum(untagged().values()) == before + 1
        policy("warn")
        with pytest.warns(session.TagWarning, match="commitlog setup"):
            write(conn)
        policy("raise")
        with pytest.raises(log.driver.wrapped.Untagged, match="commitlog setup"):
            write(conn)
        assert isinstance(log.driver.wrapped.Untagged(), log.driver.plain.NotSupportedError)
        if autocommit:
            assert_none_open(conn, log)
    assert log.seen() == [([], "I"), ([], "I")]


@pytest.mark.parametrize("on_untagged", ["allow", "raise"])
def test_a_stamp_that_the_server_refuses_at_the_end_is_counted_or_ends_the_transaction(
    stamp_log: StampLog, conn: Any, policy: Callable[[OnUntagged], None], on_untagged: OnUntagged
) -> None:
    policy(on_untagged)
    with session.bind(request="r"):
        run(conn, "INSERT INTO item VALUES (1, 'a')")
        stamp_log.server.query("RENAME TABLE commitlog.stamp TO commitlog.gone")
        try:
            before = sum(untagged().values())
            if on_untagged == "raise":
                with pytest.raises(stamp_log.driver.wrapped.Untagged):
                    conn.commit()
            else:
                conn.commit()
            assert sum(untagged().values()) == before + 1
        finally:
            stamp_log.server.query("RENAME TABLE commitlog.gone TO commitlog.stamp")
        run(conn, "INSERT INTO item VALUES (2, 'a')")
        conn.commit()
    after = (["r"], "I")
    assert stamp_log.seen() == ([after] if on_untagged == "raise" else [([], "I"), after])


def test_what_cannot_be_tagged_works_and_is_counted(stamp_log: StampLog, auto: Any) -> None:
    def counts(*statements: str, by: Callable[[], None] = lambda: None) -> list[str]:
        before = untagged()
        run(auto, *statements)
        by()
        return [what for what, count in untagged().items() for _ in range(count - before.get(what, 0))]

    with session.bind(request="r"), warnings.catch_warnings():
        warnings.simplefilter("error")
        if stamp_log.driver.wrapped is pymysql:  # no other is told
            assert counts("INSERT INTO plain VALUES (1)") == ["untagged: a table without transactions"]
        assert len(counts("CALL commit_items()")) == 1
        assert len(counts("CREATE TABLE filled AS SELECT * FROM item")) == 1
        assert len(counts("LOCK TABLES item WRITE", "INSERT INTO item VALUES (1, 'l')", "UNLOCK TABLES")) == 1
        locked = counts(
            "SET autocommit = 0", "LOCK TABLES item WRITE", "INSERT INTO item VALUES (2, 'l')", by=auto.commit
        )
        assert locked == [f"untagged: {LOCKED}"]
    assert all(requests == [] for requests, _ in stamp_log.seen())


def test_a_tag_holds_what_the_session_says(stamp_log: StampLog, conn: Any) -> None:
    with session.bind(request="r", user="u") as bound:
        run(conn, "INSERT INTO item VALUES (1, 'a')")
        conn.commit()
    assert bound is not None
    assert json.loads(bound.tag)["user"] == "u"
    assert stamp_log.seen() == [(["r"], "I")]
