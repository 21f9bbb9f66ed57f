"""The wrapped psycopg as a stand-in: every public name, the cursors an app brings along, async, and the hooks it needs."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, get_origin

import psycopg as plain
import pytest
from psycopg._connection_base import BaseConnection
from psycopg._cursor_base import BaseCursor
from psycopg._pipeline_base import BasePipeline
from psycopg._preparing import PrepareManager
from psycopg.rows import Row, dict_row
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from commitlog.drivers import psycopg, session
from fixtures.tagged import TagLog


def test_every_public_name_is_there_and_is_psycopgs_own_or_made_from_it() -> None:
    assert set(plain.__all__) <= set(psycopg.__all__)
    for name in plain.__all__:
        ours, theirs = getattr(psycopg, name), getattr(plain, name)
        derived = isinstance(theirs, type) and issubclass(ours, theirs)
        assert ours is theirs or derived or name == "connect", name
    assert psycopg.connect == psycopg.Connection.connect
    assert psycopg.__version__ == plain.__version__
    assert psycopg.rows.dict_row is dict_row
    assert psycopg.postgres is plain.postgres
    assert psycopg.dbapi20 is plain.dbapi20  # public, but not in __all__
    with pytest.raises(AttributeError):
        _ = psycopg.nothing_of_the_kind


def test_the_private_names_it_stands_on_are_there() -> None:
    """What fails here names the hook that a release of psycopg moved."""
    needed = {
        BaseConnection: "_start_query _exec_command _commit_gen _tpc_prepare_gen _get_tx_start_command"
        " _check_connection_ok",
        BaseCursor: "_start_query _execute_gen _executemany_gen_pipeline _stream_send_gen _start_copy_gen"
        " _convert_query _maybe_prepare_gen _get_prepared _select_current_result",
        BasePipeline: "_enqueue_sync _sync_gen _communicate_gen _process_results",
        plain.Connection: "_pipeline_nolock",
        plain.AsyncConnection: "_pipeline_nolock",
        PrepareManager: "get maintain_gen",
    }
    missing = [
        f"{cls.__name__}.{name}" for cls, names in needed.items() for name in names.split() if not hasattr(cls, name)
    ]
    assert missing == []
    assert {"_names", "_prepared_idx"} <= vars(PrepareManager()).keys()


class LoudCursor(plain.Cursor[Any]):
    """A cursor class of an app, made from plain psycopg's."""

    def loud(self) -> str:
        return "LOUD"


class TextCursor(plain.ClientCursor[Any]):
    """Another one, that binds on the client."""


class OurCursor(psycopg.Cursor[Any]):
    """One made from the wrapper's."""


@pytest.mark.parametrize(
    "factory", [LoudCursor, TextCursor, OurCursor, plain.Cursor, plain.ClientCursor, plain.RawCursor, psycopg.RawCursor]
)
def test_an_apps_own_cursor_class_is_used_and_tags(log: TagLog, factory: Any) -> None:
    with psycopg.connect(log.url, autocommit=True, cursor_factory=factory) as conn, session.bind(request="r"):
        cursor = conn.execute("INSERT INTO item VALUES (1, 'a') RETURNING id")
        assert cursor.fetchall() == [(1,)]
        assert isinstance(cursor, factory)
        assert isinstance(cursor, plain.Cursor)
        conn.cursor_factory = LoudCursor
        assert conn.cursor().loud() == "LOUD"
    assert log.seen() == [(["r"], "I")]


class TypedCursor(plain.Cursor[Row]):
    """One that says which rows it gives where it is used."""


@pytest.mark.parametrize("factory", [TypedCursor[Any], plain.Cursor[Any], psycopg.ClientCursor[Any]])
def test_a_generic_cursor_class_is_used_and_tags(log: TagLog, factory: Any) -> None:
    with psycopg.connect(log.url, autocommit=True, cursor_factory=factory) as conn, session.bind(request="r"):
        cursor = conn.execute("INSERT INTO item VALUES (1, 'a') RETURNING id")
        assert cursor.fetchall() == [(1,)]
        assert isinstance(cursor, get_origin(factory))
    assert log.seen() == [(["r"], "I")]


def test_row_factories_and_typed_rows_work(log: TagLog) -> None:
    with psycopg.connect(log.url, row_factory=dict_row) as conn, session.bind(request="r"):
        assert conn.execute("SELECT 1 AS one").fetchone() == {"one": 1}
        assert conn.cursor(row_factory=psycopg.rows.scalar_row).execute("SELECT 2").fetchone() == 2
        assert isinstance(conn, plain.Connection)


def test_a_cursor_of_ours_works_on_a_connection_of_plain_psycopg(log: TagLog) -> None:
    with plain.connect(log.url, autocommit=True) as conn, session.bind(request="r"):
        psycopg.Cursor(conn).execute("INSERT INTO item VALUES (1, 'a')")
        psycopg.Cursor(conn).executemany("INSERT INTO item VALUES (%s, 'a')", [(2,)])
        with psycopg.Cursor(conn).copy("COPY item FROM STDIN") as copy:
            copy.write_row((3, "a"))
        assert list(psycopg.Cursor(conn).stream("SELECT 1")) == [(1,)]
    assert log.seen() == [([], "I")] * 3


def test_a_pool_that_gives_connections_back_in_the_middle_of_a_transaction_forgets_its_session(log: TagLog) -> None:
    with ConnectionPool(log.url, connection_class=psycopg.Connection, min_size=1, max_size=1) as pool:
        with session.bind(request="forgotten"):
            conn = pool.getconn(timeout=20)
            conn.execute("INSERT INTO item VALUES (1, 'a')")
            pool.putconn(conn)
            assert conn._session is None, "an idle connection holds what a request said about itself"
        with pool.connection(timeout=20) as again:
            assert again is conn
            again.execute("INSERT INTO item VALUES (2, 'a')")
    assert log.seen() == [([], "I")]


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(main(), timeout=40)

    asyncio.run(bounded())


def test_async_connections_tag_in_the_same_ways(log: TagLog) -> None:
    async def main() -> None:
        async with await psycopg.AsyncConnection.connect(log.url) as conn:
            with session.bind(request="commit"):
                await conn.execute("INSERT INTO item VALUES (1, 'a')")
                await conn.commit()
            with session.bind(request="block"):
                async with conn.transaction():
                    await conn.execute("INSERT INTO item VALUES (2, 'a')")
            with session.bind(request="gone"):
                await conn.execute("INSERT INTO item VALUES (3, 'a')")
                await conn.rollback()
            await conn.set_autocommit(True)
            with session.bind(request="alone"):
                cursor = await conn.execute("INSERT INTO item VALUES (4, 'a') RETURNING id")
                assert await cursor.fetchone() == (4,)
                await cursor.executemany("INSERT INTO item VALUES (%s, 'a')", [(5,), (6,)])
                async with cursor.copy("COPY item FROM STDIN") as copy:
                    await copy.write_row((7, "a"))
                async with conn.pipeline():
                    await conn.execute("INSERT INTO item VALUES (8, 'a')")
                    await conn.execute("INSERT INTO item VALUES (9, 'a')")
                with pytest.raises(psycopg.errors.UniqueViolation):
                    await conn.execute("INSERT INTO item VALUES (9, 'a')")
                await conn.execute("SELECT 1")

    run(main)
    alone = [(["alone"], changes) for changes in ("I", "II", "I", "II")]
    assert log.seen() == [(["commit"], "I"), (["block"], "I"), *alone]


def test_interleaved_tasks_on_one_pool_never_swap_tags(log: TagLog) -> None:
    async def work(pool: Any, number: int) -> None:
        with session.bind(request=str(number)):
            async with pool.connection(timeout=20) as conn:
                await conn.execute("INSERT INTO item VALUES (%s, %s)", (number, str(number)))
                await asyncio.sleep(0)
                await conn.execute("UPDATE item SET name = name || '!' WHERE id = %s", (number,))

    async def main() -> None:
        pool = AsyncConnectionPool(
            log.url, connection_class=psycopg.AsyncConnection, min_size=2, max_size=2, open=False
        )
        async with pool:
            await asyncio.gather(*(work(pool, number) for number in range(20)))

    run(main)
    assert sorted(log.seen()) == sorted(([str(number)], "IU") for number in range(20))


def test_a_cancelled_task_leaves_no_tag_behind(log: TagLog) -> None:
    async def main() -> None:
        async with await psycopg.AsyncConnection.connect(log.url, autocommit=True) as conn:
            with session.bind(request="cancelled"):
                task = asyncio.create_task(slow(conn))
                while conn.info.transaction_status != psycopg.pq.TransactionStatus.ACTIVE:  # noqa: ASYNC110 - libpq has no event
                    await asyncio.sleep(0.01)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            await conn.execute("INSERT INTO item VALUES (2, 'a')")

    async def slow(conn: Any) -> None:
        await conn.execute("INSERT INTO item SELECT 1, pg_sleep(20)::text")

    run(main)
    assert log.seen() == [([], "I")]
