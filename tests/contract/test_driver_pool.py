"""The wrapped psycopg_pool as a stand-in: its names, whose connections it gives, and what stays out of any session."""

import asyncio
import random
import threading
from collections.abc import Awaitable, Callable
from typing import Any, get_origin

import psycopg as plain
import psycopg_pool as plain_pool
import pytest
from psycopg.rows import Row

from commitlog.drivers import psycopg, psycopg_pool, session
from fixtures.tagged import TagLog

INTRANS = psycopg.pq.TransactionStatus.INTRANS


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(main(), timeout=50)

    asyncio.run(bounded())


def test_every_public_name_is_there_and_is_psycopg_pools_own_or_made_from_it() -> None:
    assert set(psycopg_pool.__all__) == set(plain_pool.__all__)
    for name in plain_pool.__all__:
        ours, theirs = getattr(psycopg_pool, name), getattr(plain_pool, name)
        assert ours is theirs if issubclass(theirs, Exception) else issubclass(ours, theirs) and ours is not theirs
    assert psycopg_pool.__version__ == plain_pool.__version__
    assert psycopg_pool.errors is plain_pool.errors
    with pytest.raises(AttributeError):
        _ = psycopg_pool.nothing_of_the_kind


def test_the_kinds_of_pool_are_related_as_psycopg_pools_are() -> None:
    assert issubclass(psycopg_pool.NullConnectionPool, psycopg_pool.ConnectionPool)
    assert issubclass(psycopg_pool.AsyncNullConnectionPool, psycopg_pool.AsyncConnectionPool)


def test_the_private_names_it_stands_on_are_there() -> None:
    """What fails here names the hook that a release of psycopg_pool moved."""
    for pool in (plain_pool.ConnectionPool, plain_pool.AsyncConnectionPool):
        assert all(hasattr(pool, name) for name in ("_open", "_connect", "_reset_connection"))


class ShopConnection(plain.Connection[Any]):
    """A connection class of an app, made from plain psycopg's."""

    def add(self, number: int) -> None:
        self.execute("INSERT INTO item VALUES (%s, 'a')", (number,))


class GenericConnection(plain.Connection[Row]):
    """Another one, that says which rows it gives where it is used."""


class AsyncShopConnection(plain.AsyncConnection[Any]):
    """The same, async."""


class OurConnection(psycopg.Connection[Any]):
    """One made from the wrapper's."""


def connection_type(connection_class: Any, default: type) -> type:
    return get_origin(connection_class) or connection_class or default


@pytest.mark.parametrize("kind", [psycopg_pool.ConnectionPool, psycopg_pool.NullConnectionPool])
def test_whatever_class_of_connection_is_asked_for_it_tags(log: TagLog, kind: Any) -> None:
    generic = [plain.Connection[Any], GenericConnection[Any]]
    for chosen in (None, plain.Connection, ShopConnection, OurConnection, *generic):
        options = {"connection_class": chosen} if chosen else {}
        with kind(log.url, min_size=0, max_size=2, open=True, **options) as pool:
            with session.bind(request="tagged"), pool.connection(timeout=20) as conn:
                conn.execute("INSERT INTO item VALUES (1, 'a')")
            assert isinstance(conn, connection_type(chosen, psycopg.Connection))
            with pool.connection(timeout=20) as conn:
                conn.execute("DELETE FROM item")
            if chosen is ShopConnection:
                with session.bind(request="its own method"), pool.connection(timeout=20) as conn:
                    conn.add(9)
                    conn.execute("DELETE FROM item")
        own = [(["its own method"], "ID")] if chosen is ShopConnection else []
        assert log.seen() == [(["tagged"], "I"), ([], "D"), *own], chosen


@pytest.mark.parametrize("kind", [psycopg_pool.AsyncConnectionPool, psycopg_pool.AsyncNullConnectionPool])
def test_async_pools_do_the_same(log: TagLog, kind: Any) -> None:
    async def main() -> None:
        for chosen in (None, plain.AsyncConnection, plain.AsyncConnection[Any], AsyncShopConnection):
            options = {"connection_class": chosen} if chosen else {}
            async with kind(log.url, min_size=0, max_size=2, **options) as pool:
                with session.bind(request="tagged"):
                    async with pool.connection(timeout=20) as conn:
                        await conn.execute("INSERT INTO item VALUES (1, 'a')")
                assert isinstance(conn, connection_type(chosen, psycopg.AsyncConnection))
                async with pool.connection(timeout=20) as conn:
                    await conn.execute("DELETE FROM item")
            assert log.seen() == [(["tagged"], "I"), ([], "D")], chosen

    run(main)


def test_the_class_can_be_changed_later_and_still_tags(log: TagLog) -> None:
    with psycopg_pool.NullConnectionPool(log.url, max_size=1, open=True) as pool:
        pool.connection_class = ShopConnection
        with session.bind(request="later"), pool.connection(timeout=20) as conn:
            conn.add(1)
    assert log.seen() == [(["later"], "I")]


def spoil(conn: psycopg.Connection[Any], how: str) -> None:
    """Leave a connection in the middle of something that the bound session began."""
    if how == "in a transaction":
        conn.execute("INSERT INTO item VALUES (1, 'a')")
    elif how == "in a failed transaction":
        with pytest.raises(psycopg.errors.UndefinedTable):
            conn.execute("INSERT INTO nowhere VALUES (1)")
    elif how == "in a block given as text":
        conn.autocommit = True
        conn.execute("BEGIN")
        conn.execute("INSERT INTO item VALUES (1, 'a')")
    else:
        conn.execute("INSERT INTO item VALUES (1, 'a')")
        conn.pgconn.exec_(b"ROLLBACK")


@pytest.mark.parametrize(
    "how", ["in a transaction", "in a failed transaction", "in a block given as text", "ended behind the driver's back"]
)
def test_a_connection_given_back_in_the_middle_keeps_no_session(log: TagLog, how: str) -> None:
    with psycopg_pool.ConnectionPool(log.url, min_size=1, max_size=1, open=True) as pool:
        with session.bind(request="forgotten"):
            conn = pool.getconn(timeout=20)
            spoil(conn, how)
            pool.putconn(conn)
        with pool.connection(timeout=20) as again:
            assert again is conn
            assert again._session is None
            again.execute("INSERT INTO item VALUES (2, 'a')")
    assert log.seen() == [([], "I")]


def test_close_returns_gives_back_a_connection_without_its_session(log: TagLog) -> None:
    with psycopg_pool.ConnectionPool(log.url, min_size=1, max_size=1, close_returns=True, open=True) as pool:
        with session.bind(request="closed"):
            conn = pool.getconn(timeout=20)
            conn.execute("INSERT INTO item VALUES (1, 'a')")
            conn.close()
        with pool.connection(timeout=20) as again:
            assert again is conn
            again.execute("INSERT INTO item VALUES (2, 'a')")
    assert log.seen() == [([], "I")]


def test_what_an_async_pool_does_by_itself_has_no_session_though_a_request_opened_it(log: TagLog) -> None:
    bound: list[tuple[str, session.Session | None]] = []

    async def configure(conn: Any) -> None:
        bound.append(("configure", session.current()))
        await conn.execute("INSERT INTO item SELECT coalesce(max(id), 0) + 1, 'configured' FROM item")
        await conn.commit()

    async def reset(conn: Any) -> None:
        bound.append(("reset", session.current()))

    async def check(conn: Any) -> None:
        bound.append(("check", session.current()))

    async def main() -> None:
        pool = psycopg_pool.AsyncConnectionPool(
            log.url, min_size=1, max_size=2, open=False, configure=configure, reset=reset, check=check
        )
        with session.bind(request="opener") as opener:
            await pool.open(wait=True, timeout=20)
            for _ in range(2):  # the second time both have been reset
                async with pool.connection(timeout=20), pool.connection(timeout=20):
                    pass
        await pool.close()
        assert {step for step, _ in bound} == {"configure", "reset", "check"}
        assert {seen for step, seen in bound if step == "check"} == {opener}
        assert {seen for step, seen in bound if step != "check"} == {None}

    run(main)
    assert log.seen() == [([], "I"), ([], "I")]


def test_a_connection_that_a_null_pool_makes_for_a_request_is_configured_without_its_session(log: TagLog) -> None:
    def configure(conn: Any) -> None:
        conn.execute("INSERT INTO item VALUES (1, 'configured')")
        conn.commit()

    pool = psycopg_pool.NullConnectionPool(log.url, max_size=1, open=True, configure=configure)
    with pool, session.bind(request="r"), pool.connection(timeout=20) as conn:
        conn.execute("INSERT INTO item VALUES (2, 'a')")
    assert log.seen() == [([], "I"), (["r"], "I")]


def test_an_async_null_pool_does_the_same(log: TagLog) -> None:
    async def configure(conn: Any) -> None:
        await conn.execute("INSERT INTO item VALUES (1, 'configured')")
        await conn.commit()

    async def main() -> None:
        async with psycopg_pool.AsyncNullConnectionPool(log.url, max_size=1, configure=configure) as pool:
            with session.bind(request="r"):
                async with pool.connection(timeout=20) as conn:
                    await conn.execute("INSERT INTO item VALUES (2, 'a')")

    run(main)
    assert log.seen() == [([], "I"), (["r"], "I")]


REQUEST_COUNT = 400


async def serve(pool: Any, number: int, order: random.Random) -> None:
    """One request: a transaction in one of the ways an app writes it, with other requests let in between its steps."""
    way = number % 5
    with session.bind(request=str(number)):
        await asyncio.sleep(order.random() / 500)
        async with pool.connection(timeout=40) as conn:
            await conn.execute("INSERT INTO item VALUES (%s, %s)", (number, str(number)))
            await asyncio.sleep(0)
            if way == 1:
                async with conn.transaction():
                    await conn.execute("UPDATE item SET name = 'savepoint' WHERE id = %s", (number,))
            elif way == 2:
                await conn.rollback()
                await conn.execute("INSERT INTO item VALUES (%s, 'again')", (number,))
            elif way == 3:
                async with conn.pipeline():
                    await conn.execute("UPDATE item SET name = 'p' WHERE id = %s", (number,))
                    await conn.execute("SELECT 1")
            elif way == 4:
                await asyncio.wait_for(asyncio.shield(conn.execute("SELECT 1")), timeout=30)
                await conn.commit()
                await conn.execute("UPDATE item SET name = 'second' WHERE id = %s", (number,))
        if way == 0:
            task = asyncio.create_task(hold(pool, number))
            await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task


async def hold(pool: Any, number: int) -> None:
    async with pool.connection(timeout=40) as conn:
        await conn.execute("INSERT INTO item VALUES (%s, 'never')", (number + REQUEST_COUNT,))
        await conn.execute("SELECT pg_sleep(30)")


def test_many_interleaved_requests_on_one_async_pool_never_swap_tags(log: TagLog) -> None:
    """Each request writes rows that name it, and each fifth is cancelled in the middle of another transaction."""

    async def main() -> None:
        order = random.Random(7)
        async with psycopg_pool.AsyncConnectionPool(log.url, min_size=3, max_size=3) as pool:
            await asyncio.gather(*(serve(pool, number, order) for number in range(REQUEST_COUNT)))
            async with pool.connection(timeout=20) as conn:
                await conn.execute("INSERT INTO item VALUES (-1, 'nobody')")

    run(main)
    expected: list[tuple[list[str], str]] = [([], "I")]
    for number in range(REQUEST_COUNT):
        expected += {1: [([str(number)], "IU")], 3: [([str(number)], "IU")]}.get(number % 5, [([str(number)], "I")])
        if number % 5 == 4:
            expected.append(([str(number)], "U"))
    transactions = log.read()
    assert sorted((t.requests, t.changes) for t in transactions) == sorted(expected)
    assert all(t.requests == [row[0]] for t in transactions for row in t.inserted if row[1] != "nobody")
    with plain.connect(log.url) as conn:
        assert conn.execute("SELECT count(*) FROM item WHERE name = 'never'").fetchone() == (0,)


def test_threads_on_one_pool_never_swap_tags(log: TagLog) -> None:
    with psycopg_pool.ConnectionPool(log.url, min_size=2, max_size=2, open=True) as pool:

        def work(first: int) -> None:
            for number in range(first, first + 20):
                with session.bind(request=str(number)), pool.connection(timeout=40) as conn:
                    conn.execute("INSERT INTO item VALUES (%s, 'a')", (number,))

        threads = [threading.Thread(target=work, args=(100 * number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=50)
    seen = [(t.requests, [row[0] for row in t.inserted]) for t in log.read()]
    assert sorted(seen) == sorted(([str(100 * n + i)],) * 2 for n in range(6) for i in range(20))
