"""What is the wrapped mysqlclient's own: stamps in the round trip of what they belong to, and results that pass by them unseen."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from commitlog.drivers import session
from fixtures.stamped import StampLog, run

LONG = "INSERT INTO long_text VALUES ('" + "x;" * 40_000 + "')"

pytestmark = pytest.mark.parametrize("driver", ["mysqlclient"], indirect=True)


@pytest.fixture
def sent(stamp_log: StampLog, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The texts that go to the server: each is a round trip."""
    plain: Any = stamp_log.driver.plain.connections.Connection
    query: Callable[[Any, Any], None] = plain.query
    texts: list[bytes] = []

    def listen(conn: Any, text: Any) -> None:
        texts.append(text)
        query(conn, text)

    monkeypatch.setattr(plain, "query", listen)
    monkeypatch.setattr("commitlog.drivers.mysqlclient_stamp.run", listen)
    return texts


@contextmanager
def one_at_a_time(conn: Any) -> Iterator[None]:
    """The app lets a text hold one statement only."""
    conn.set_server_option(1)
    yield
    conn.set_server_option(0)


def test_stamps_cost_no_round_trip_where_a_text_may_hold_several_statements(
    stamp_log: StampLog, auto: Any, sent: list[bytes]
) -> None:
    with session.bind(request="r"):
        run(auto, "INSERT INTO item VALUES (1, 'a')")
        auto.begin()
        run(auto, "INSERT INTO item VALUES (2, 'a')")
        auto.commit()
        assert len(sent) == 4
        run(auto, "INSERT INTO item VALUES (3, 'a') ; -- the last one")
        assert len(sent) == 5
        with one_at_a_time(auto):
            del sent[:]
            auto.begin()
            run(auto, "INSERT INTO item VALUES (4, 'a')")
            auto.commit()
            assert len(sent) == 4
            run(auto, "INSERT INTO item VALUES (5, 'a');")
            assert all(text.count(b";") <= 1 for text in sent)
    assert stamp_log.seen() == [(["r"], "I")] * 5


def test_rows_may_be_read_one_by_one_whatever_is_sent_next(stamp_log: StampLog, auto: Any) -> None:
    streamed = stamp_log.driver.plain.cursors.SSCursor
    number = iter(range(1, 100))

    def some_rows() -> Any:
        cursor = auto.cursor(streamed)
        cursor.execute(f"SELECT add_item({next(number)}) UNION ALL SELECT add_item({next(number)})")
        return cursor

    acts: tuple[Callable[[], Any], ...] = (
        auto.commit,
        auto.rollback,
        auto.begin,
        auto.ping,
        lambda: auto.autocommit(False),
        lambda: auto.autocommit(True),
        lambda: auto.select_db(stamp_log.database),
        lambda: run(auto, "SELECT 1"),
        lambda: run(auto, f"INSERT INTO item VALUES ({next(number)}, 'a')"),
    )
    with session.bind(request="r"):
        for act in acts:
            auto.autocommit(True)
            auto.rollback()
            cursor = some_rows()
            assert len(cursor.fetchall()) == 2
            act()
            cursor.close()
        some_rows().close()
        auto.autocommit(True)
        unread = some_rows()
        with pytest.raises(stamp_log.driver.plain.ProgrammingError, match="ut of sync"):
            run(auto, "SELECT 1")
        del unread
        run(auto, "SELECT 1")
    seen = stamp_log.seen()
    assert seen[:8] == [(["r"], "II")] * 8
    assert all(requests == ["r"] for requests, _ in seen)


def test_an_error_among_the_rows_takes_back_what_the_statement_did(stamp_log: StampLog, auto: Any) -> None:
    text = "SELECT add_item(id) FROM (SELECT 1 AS id UNION ALL SELECT 2 UNION ALL SELECT 1) AS numbers"
    for cursor_class in (stamp_log.driver.plain.cursors.Cursor, stamp_log.driver.plain.cursors.SSCursor):
        with session.bind(request="r"):
            cursor = auto.cursor(cursor_class)
            with pytest.raises(stamp_log.driver.plain.IntegrityError):
                _ = (cursor.execute(text), cursor.fetchall())
            del cursor
            assert run(auto, "SELECT COUNT(*) FROM item") == ((0,),)
            run(auto, "SAVEPOINT s")
            with pytest.raises(stamp_log.driver.plain.OperationalError, match="SAVEPOINT s"):
                run(auto, "RELEASE SAVEPOINT s")
    assert stamp_log.seen() == []


def test_long_statements_go_alone_and_are_tagged(stamp_log: StampLog, auto: Any, sent: list[bytes]) -> None:
    with session.bind(request="r"):
        run(auto, "CREATE TABLE long_text (it MEDIUMTEXT)", LONG)
        assert LONG.encode() in sent
    assert stamp_log.seen() == [(["r"], "I")]


@pytest.mark.parametrize("charset", ["utf8mb4", "gbk"])
def test_data_that_looks_like_statements_is_data(stamp_log: StampLog, charset: str) -> None:
    """Also where a backslash is no escape, or the second byte of a character."""
    data = ("a'; COMMIT; SELECT 'b", "\\'; COMMIT; --\\", "\\", "';\\';'", "誠'; COMMIT; -- 誠")
    for mode in ("", "NO_BACKSLASH_ESCAPES"):
        with closing(stamp_log.connect(autocommit=True, sql_mode=mode, charset=charset)) as conn:
            run(conn, "CREATE TABLE IF NOT EXISTS notes (it VARCHAR(100))", "TRUNCATE notes")
            with session.bind(request="r"), conn.cursor() as cursor:
                for text in data:
                    cursor.execute("INSERT INTO notes VALUES (%s)", (text,))
                conn.begin()
                cursor.execute("INSERT INTO notes VALUES (%s), (%s)", ("x;", data[1]))
                conn.commit()
                cursor.execute("SELECT it FROM notes")
                assert cursor.fetchall() == tuple((text,) for text in (*data, "x;", data[1]))
    assert len(stamp_log.seen()) == 12


def test_another_user_begins_anew(stamp_log: StampLog) -> None:
    given = stamp_log.options()
    with closing(stamp_log.connect()) as conn, session.bind(request="r"):
        run(conn, "INSERT INTO item VALUES (1, 'gone')")
        conn.change_user(given["user"], given["password"], given["database"])
        assert conn.get_autocommit()
        run(conn, "INSERT INTO item VALUES (1, 'a')")
    assert stamp_log.seen() == [(["r"], "I")]


def test_what_is_sent_without_waiting_is_tagged_with_its_transaction(stamp_log: StampLog, auto: Any) -> None:
    def send(text: str) -> None:
        auto.send_query(text)
        auto.read_query_result()
        auto.store_result()

    before = session.counters()
    with session.bind(request="r"):
        auto.begin()
        send("INSERT INTO item VALUES (1, 'a')")
        auto.commit()
        send("INSERT INTO item VALUES (2, 'a')")
    what = "untagged: a statement sent without waiting for its answer"
    assert session.counters()[what] == before.get(what, 0) + 1
    assert stamp_log.seen() == [(["r"], "I"), ([], "I")]


def test_a_transaction_that_a_procedure_leaves_open_goes_on(stamp_log: StampLog, auto: Any) -> None:
    run(auto, "CREATE PROCEDURE open_one() BEGIN START TRANSACTION; INSERT INTO item VALUES (1, 'p'); END")
    with session.bind(request="r"):
        run(auto, "CALL open_one()")
        run(auto, "INSERT INTO item VALUES (2, 'a')")
        auto.rollback()
        run(auto, "CALL open_one()", "INSERT INTO item VALUES (2, 'a')")
        auto.commit()
        run(auto, "SET completion_type = 'CHAIN'", "BEGIN", "INSERT INTO item VALUES (3, 'a')", "COMMIT")
        for number, end in ((4, auto.rollback), (4, auto.commit), (5, auto.rollback)):
            run(auto, f"INSERT INTO item VALUES ({number}, 'a')")
            end()
    assert stamp_log.seen() == [(["r"], "II"), (["r"], "I"), (["r"], "I")]


def test_autocommit_set_to_what_it_is_leaves_what_the_connection_says(stamp_log: StampLog) -> None:
    said: list[Any] = []
    for connect in (stamp_log.driver.plain.connect, stamp_log.driver.wrapped.connect):
        with closing(connect(**stamp_log.options())) as conn, session.bind(request="r"):
            run(conn, "INSERT INTO item (name) VALUES ('a')")
            with pytest.raises(stamp_log.driver.plain.ProgrammingError, match="exist"):
                run(conn, "TRUNCATE TABLE nowhere")
            conn.autocommit(False)
            run(conn, "SELECT id FROM item")
            said.append(conn.insert_id() > 0)
    assert said[1] == said[0]
