"""The wrapped psycopg in transactions: one tag in each that writes, none elsewhere, read back from the server's log."""

import json
import signal
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import psycopg as plain
import pytest
from psycopg_pool import ConnectionPool

from commitlog.drivers import psycopg, session
from fixtures.tagged import TagLog, when_asleep


def counted() -> int:
    """How many writes went out untagged so far."""
    return sum(count for what, count in session.counters().items() if what.startswith("untagged"))


def test_each_transaction_that_writes_has_one_tag(log: TagLog, conn: psycopg.Connection[Any]) -> None:
    for number, request in enumerate(("one", "two")):
        with session.bind(request=request):
            conn.execute("INSERT INTO item VALUES (%s, 'a')", (number,))
            conn.execute("UPDATE item SET name = 'b' WHERE id = %s", (number,))
            conn.commit()
    assert log.seen() == [(["one"], "IU"), (["two"], "IU")]


def test_a_read_only_transaction_writes_nothing_to_the_log(log: TagLog, conn: psycopg.Connection[Any]) -> None:
    with session.bind(request="r"):
        conn.execute("SELECT * FROM item")
        conn.commit()
        conn.read_only = True
        conn.execute("SELECT count(*) FROM item")
        conn.commit()
    assert log.seen() == []


def test_a_rolled_back_transaction_leaves_no_rows_and_no_tag(log: TagLog, conn: psycopg.Connection[Any]) -> None:
    def fail() -> None:
        with conn.transaction():
            conn.execute("INSERT INTO item VALUES (2, 'a')")
            raise KeyError

    with session.bind(request="r"):
        conn.execute("INSERT INTO item VALUES (1, 'a')")
        conn.rollback()
        with pytest.raises(KeyError):
            fail()
        with conn.transaction(force_rollback=True):
            conn.execute("INSERT INTO item VALUES (3, 'a')")
        with conn.transaction() as outer:
            conn.execute("INSERT INTO item VALUES (4, 'a')")
            raise psycopg.Rollback(outer)
    conn.commit()
    assert log.seen() == []
    assert conn.execute("SELECT count(*) FROM item").fetchone() == (0,)


def test_savepoints_and_nested_blocks_keep_the_one_tag_of_their_transaction(
    log: TagLog, conn: psycopg.Connection[Any]
) -> None:
    def fail() -> None:
        with conn.transaction("inner"):
            conn.execute("INSERT INTO item VALUES (2, 'gone')")
            raise KeyError

    with session.bind(request="r"), conn.transaction():
        conn.execute("INSERT INTO item VALUES (1, 'a')")
        with pytest.raises(KeyError):
            fail()
        with conn.transaction():
            conn.execute("INSERT INTO item VALUES (3, 'a')")
        conn.execute("SAVEPOINT s")
        conn.execute("INSERT INTO item VALUES (4, 'gone')")
        conn.execute("ROLLBACK TO s")
    conn.commit()
    assert log.seen() == [(["r"], "II")]


def test_the_end_of_a_with_block_commits_with_the_tag(log: TagLog) -> None:
    with session.bind(request="r"), psycopg.connect(log.url) as conn:
        conn.execute("INSERT INTO item VALUES (1, 'a')")
    assert conn.closed
    assert log.seen() == [(["r"], "I")]


def test_without_a_session_nothing_is_sent(log: TagLog, conn: psycopg.Connection[Any]) -> None:
    conn.execute("INSERT INTO item VALUES (1, 'a')")
    conn.commit()
    conn.autocommit = True
    conn.execute("UPDATE item SET name = 'b'")
    assert log.seen() == [([], "I"), ([], "U")]


def test_the_tag_is_the_one_of_the_first_statement(log: TagLog, conn: psycopg.Connection[Any]) -> None:
    with session.bind(request="first"):
        conn.execute("SELECT 1")
    with session.bind(request="second"):
        conn.execute("INSERT INTO item VALUES (1, 'a')")
    conn.commit()
    conn.execute("SELECT 1")  # of nobody, so the transaction is nobody's
    with session.bind(request="third"):
        conn.execute("INSERT INTO item VALUES (2, 'a')")
        conn.commit()
    with conn.transaction(), session.bind(request="fourth"):  # a block's first statement is what comes in it
        conn.execute("INSERT INTO item VALUES (3, 'a')")
    assert log.seen() == [(["first"], "I"), ([], "I"), (["fourth"], "I")]


@pytest.mark.parametrize("commit", ["COMMIT", "commit;", "-- done\nEND", "COMMIT AND CHAIN", b"COMMIT"])
@pytest.mark.parametrize("autocommit", [False, True])
def test_a_commit_given_as_text_is_tagged(log: TagLog, commit: str, autocommit: bool) -> None:
    with psycopg.connect(log.url, autocommit=autocommit) as conn:
        with session.bind(request="r"):
            if autocommit:
                conn.execute("BEGIN")
            conn.execute("INSERT INTO item VALUES (1, 'a')")
        conn.execute(commit)
        with session.bind(request="next"):
            conn.execute("INSERT INTO item VALUES (2, 'a')")
            conn.execute("COMMIT")
    assert log.seen() == [(["r"], "I"), (["next"], "I")]


def test_a_session_never_outlives_its_transaction(log: TagLog, conn: psycopg.Connection[Any]) -> None:
    conn.autocommit = True
    with session.bind(request="r"):
        conn.execute("INSERT INTO item VALUES (1, 'a')")
        conn.execute("SELECT 1")
        conn.execute("BEGIN")
        with pytest.raises(psycopg.errors.UniqueViolation):
            conn.execute("INSERT INTO item VALUES (1, 'a')")
    conn.execute("ROLLBACK")
    conn.execute("BEGIN")
    conn.execute("INSERT INTO item VALUES (2, 'a')")
    conn.execute("COMMIT")
    conn.execute("INSERT INTO item VALUES (3, 'a')")
    with conn.transaction():
        conn.execute("INSERT INTO item VALUES (4, 'a')")
    conn.autocommit = False
    conn.execute("INSERT INTO item VALUES (5, 'a')")
    conn.commit()
    with session.bind(request="last"):
        conn.execute("INSERT INTO item VALUES (6, 'a')")
        conn.commit()
    assert conn._session is None, "an idle connection holds what a request said about itself"
    assert log.seen() == [(["r"], "I"), *[([], "I")] * 4, (["last"], "I")]


def test_two_phase_commits_are_tagged_before_they_are_prepared(log: TagLog, conn: psycopg.Connection[Any]) -> None:
    with session.bind(request="two phases"):
        conn.tpc_begin("t1")
        conn.execute("INSERT INTO item VALUES (1, 'a')")
        conn.tpc_prepare()
    conn.tpc_commit()
    with session.bind(request="one phase"):
        conn.tpc_begin("t2")
        conn.execute("INSERT INTO item VALUES (2, 'a')")
        conn.tpc_commit()
    with session.bind(request="text"):
        conn.execute("INSERT INTO item VALUES (3, 'a')")
        conn.execute("PREPARE TRANSACTION 't3'")
    conn.autocommit = True
    conn.execute("COMMIT PREPARED 't3'")
    assert log.seen() == [(["two phases"], "I"), (["one phase"], "I"), (["text"], "I")]


def test_a_statement_that_wrote_nothing_and_a_failed_transaction_commit_as_before(
    log: TagLog, conn: psycopg.Connection[Any]
) -> None:
    with session.bind(request="r"):
        with pytest.raises(psycopg.errors.UndefinedTable):
            conn.execute("INSERT INTO nowhere VALUES (1)")
        conn.commit()  # the server answers ROLLBACK, and psycopg accepts it
        assert conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        conn.execute("INSERT INTO item VALUES (1, 'a')")
        conn.commit()
    assert log.seen() == [(["r"], "I")]


def orphan(conn: Any) -> None:
    """Write what a deferred constraint refuses at COMMIT."""
    conn.execute("INSERT INTO part VALUES (99)")


def orphan_in_block(conn: Any) -> None:
    with conn.transaction():
        orphan(conn)


ORPHANS: dict[str, Callable[[Any], object]] = {
    "commit()": lambda conn: (orphan(conn), conn.commit()),
    "transaction()": orphan_in_block,
    "text": lambda conn: (orphan(conn), conn.execute("COMMIT")),
    "autocommit": orphan,
}


@pytest.mark.parametrize("how", ORPHANS)
def test_a_deferred_constraint_fails_as_in_plain_psycopg(log: TagLog, how: str) -> None:
    """The error that COMMIT meets has the same class, message and aftermath, and nothing is left in the log."""

    def attempt(library: Any) -> tuple[Any, ...]:
        with library.connect(log.url, autocommit=how == "autocommit") as conn, session.bind(request="r"):
            with pytest.raises(plain.errors.ForeignKeyViolation) as caught:
                ORPHANS[how](conn)
            status = conn.info.transaction_status
            return type(caught.value), str(caught.value), status, conn.execute("SELECT 1").fetchone()

    assert attempt(psycopg) == attempt(plain)
    assert log.seen() == []


def test_quotes_nul_backslashes_and_emoji_arrive_as_they_were(log: TagLog, conn: psycopg.Connection[Any]) -> None:
    name = "o'\"\\x\0\n$$ \U0001f600 \\' ''; DROP TABLE item; --"
    bound = session.make(request=name, user="\\'")
    with session.resume(bound):
        for setting in ("on", "off"):
            conn.execute("SELECT set_config('standard_conforming_strings', %s, false)", (setting,))
            conn.execute("INSERT INTO item VALUES (%s, 'a')", (len(setting),))
            conn.commit()
        conn.execute("SET client_encoding = 'latin1'")
        conn.execute("UPDATE item SET name = 'b'")
        conn.commit()
        conn.autocommit = True
        conn.execute("UPDATE item SET name = 'c'")
    transactions = log.read()
    assert [transaction.tags for transaction in transactions] == [[bound.tag]] * 4
    assert json.loads(transactions[0].tags[0])["request"] == name


def test_prepared_statements_are_prepared_as_before_and_survive_every_deallocation(log: TagLog) -> None:
    with psycopg.connect(log.url, prepare_threshold=2) as conn, session.bind(request="r"):
        for number in range(10):
            conn.execute("INSERT INTO item VALUES (%s, 'a')", (number,))
            conn.commit()
        prepared = conn.execute("SELECT statement FROM pg_prepared_statements").fetchall()
        assert ("INSERT INTO item VALUES ($1, 'a')",) in prepared
        conn.rollback()  # psycopg deallocates everything here
        for number, reset in enumerate(("DEALLOCATE ALL", "SELECT 1"), 10):
            conn.execute("INSERT INTO item VALUES (%s, 'a')", (number,))
            conn.execute(reset)
            conn.commit()
        conn.autocommit = True
        conn.execute("DISCARD ALL")
        for number in range(20, 26):
            conn.execute("INSERT INTO item VALUES (%s, 'a')", (number,))
    assert log.seen() == [(["r"], "I")] * 18


def test_in_autocommit_prepared_statements_make_room_but_not_the_stamp_and_go_when_a_table_changes(log: TagLog) -> None:
    def prepared(text: str) -> int:
        found = conn.execute(
            "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE %s", (text,), prepare=False
        )
        return int(found.fetchall()[0][0])

    with psycopg.connect(log.url, autocommit=True, prepare_threshold=0) as conn, session.bind(request="r"):
        conn.prepared_max = 10
        for number in range(30):
            conn.execute(f"INSERT INTO item VALUES ({number}, %s)", ("a",))
        assert 0 < prepared("INSERT%") < 10
        assert prepared("%pg_logical_emit_message%") == 1
        conn.execute("ALTER TABLE item ADD COLUMN more int")
        assert prepared("INSERT%") == 0
    assert [requests for requests, changes in log.seen() if changes] == [["r"]] * 30


def test_with_prepared_statements_off_nothing_is_prepared(log: TagLog) -> None:
    with psycopg.connect(log.url, prepare_threshold=None) as conn, session.bind(request="r"):
        for number in range(8):
            conn.execute("INSERT INTO item VALUES (%s, 'a')", (number,))
            conn.commit()
        assert conn.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)
    assert log.seen() == [(["r"], "I")] * 8


def test_a_pool_never_swaps_the_sessions_of_its_threads(log: TagLog) -> None:
    with ConnectionPool(
        log.url, connection_class=psycopg.Connection, min_size=2, max_size=2, kwargs={"autocommit": False}
    ) as pool:

        def work(worker: int) -> None:
            for step in range(15):
                number = worker * 100 + step
                with session.bind(request=str(number)), pool.connection(timeout=20) as conn:
                    conn.execute("INSERT INTO item VALUES (%s, %s)", (number, str(number)))
                    if step % 3 == 0:
                        conn.rollback()
                with pool.connection(timeout=20) as conn:  # a task of nobody on the same connections
                    conn.execute("UPDATE item SET name = name WHERE id = %s", (number,))

        threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=40)
    seen = log.seen()
    tagged = sorted(requests[0] for requests, changes in seen if requests)
    assert tagged == sorted(str(worker * 100 + step) for worker in range(4) for step in range(15) if step % 3)
    assert {changes for requests, changes in seen if requests} == {"I"}
    assert {changes for requests, changes in seen if not requests} == {"U"}


def test_each_row_of_a_pool_carries_its_own_request(log: TagLog) -> None:
    """The row names the request that wrote it: a swapped tag would contradict it."""
    with ConnectionPool(log.url, connection_class=psycopg.Connection, min_size=1, max_size=1) as pool:
        for number in range(6):
            with session.bind(request=str(number)), pool.connection(timeout=20) as conn:
                conn.execute("INSERT INTO item VALUES (%s, %s)", (number, str(number)))
            with pool.connection(timeout=20) as conn, pytest.raises(psycopg.errors.UniqueViolation):
                conn.execute("INSERT INTO item VALUES (%s, 'again')", (number,))
    assert log.seen() == [([str(number)], "I") for number in range(6)]


def test_an_interrupt_rolls_back_and_the_connection_goes_on(log: TagLog, conn: psycopg.Connection[Any]) -> None:
    interrupt = partial(signal.pthread_kill, threading.get_ident(), signal.SIGINT)
    with session.bind(request="interrupted"):
        conn.execute("INSERT INTO item VALUES (1, 'a')")
        with when_asleep(conn, interrupt), pytest.raises(KeyboardInterrupt):
            conn.execute("SELECT pg_sleep(20)")
        conn.rollback()
        conn.execute("INSERT INTO item VALUES (2, 'a')")
        conn.commit()
        conn.autocommit = True
        with when_asleep(conn, interrupt), pytest.raises(KeyboardInterrupt):
            conn.execute("INSERT INTO item SELECT 3, pg_sleep(20)::text")
    conn.execute("INSERT INTO item VALUES (4, 'a')")
    assert log.seen() == [(["interrupted"], "I"), ([], "I")]


def test_cancelling_a_statement_leaves_no_tag(log: TagLog, conn: psycopg.Connection[Any]) -> None:
    with session.bind(request="r"):
        conn.execute("INSERT INTO item VALUES (1, 'a')")
        with when_asleep(conn, conn.cancel_safe), pytest.raises(psycopg.errors.QueryCanceled):
            conn.execute("SELECT pg_sleep(20)")
        conn.commit()
    assert log.seen() == []


def test_pipelines_are_tagged_in_their_transaction(log: TagLog, conn: psycopg.Connection[Any]) -> None:
    with session.bind(request="commit"), conn.pipeline():
        conn.execute("INSERT INTO item VALUES (1, 'a')")
        conn.execute("INSERT INTO item VALUES (2, 'a')")
        conn.commit()
    with session.bind(request="block"), conn.pipeline(), conn.transaction():
        conn.execute("INSERT INTO item VALUES (3, 'a')")
    with session.bind(request="read"), conn.pipeline():
        conn.execute("SELECT 1")
        conn.commit()
    with (
        pytest.raises(psycopg.errors.UniqueViolation),
        session.bind(request="failed"),
        conn.pipeline(),
        conn.transaction(),
    ):
        conn.execute("INSERT INTO item VALUES (1, 'a')")
    assert log.seen() == [(["commit"], "II"), (["block"], "I")]


def test_server_side_cursors_stream_and_copy_work_in_a_tagged_transaction(
    log: TagLog, conn: psycopg.Connection[Any]
) -> None:
    before = counted()
    with session.bind(request="r"), conn.transaction():
        with conn.cursor() as cursor, cursor.copy("COPY item FROM STDIN") as copy:
            for number in range(5):
                copy.write_row((number, "a"))
        with conn.cursor("named") as named:
            named.execute("SELECT id FROM item ORDER BY id")
            assert [row[0] for row in named] == list(range(5))
        assert [row[0] for row in conn.cursor().stream("SELECT id FROM item ORDER BY id")] == list(range(5))
        conn.cursor().executemany("UPDATE item SET name = %s WHERE id = %s", [("b", 1), ("b", 2)])
    assert log.seen() == [(["r"], "IIIIIUU")]
    assert counted() == before
