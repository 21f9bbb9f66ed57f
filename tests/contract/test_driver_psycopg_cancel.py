"""Requests that are given up while the server is at work, also while it commits: nothing half done, nothing mistaken."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg as plain
import pytest
from psycopg.pq import TransactionStatus

from commitlog.drivers import psycopg, session
from fixtures.tagged import TagLog

SLOW_COMMIT = """
CREATE FUNCTION doze() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(20); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER doze AFTER INSERT ON item DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW WHEN (NEW.name = 'slow') EXECUTE FUNCTION doze();
"""
SLOW = "INSERT INTO item VALUES (1, 'slow')"


@pytest.fixture
def log(log: TagLog) -> TagLog:
    """One whose table can be slow to commit."""
    with plain.connect(log.url, autocommit=True) as conn:
        conn.execute(SLOW_COMMIT)
    return log


async def alone(conn: Any) -> None:
    await conn.execute(SLOW)


async def committed(conn: Any) -> None:
    await conn.execute(SLOW)
    await conn.commit()


async def in_a_block(conn: Any) -> None:
    async with conn.transaction():
        await conn.execute(SLOW)


async def in_a_script(conn: Any) -> None:
    await conn.execute(f"{SLOW}; COMMIT; SELECT 1")


async def by_text(conn: Any) -> None:
    await conn.execute("BEGIN")
    await conn.execute(SLOW)
    await conn.execute("COMMIT")


async def copied(conn: Any) -> None:
    async with conn.cursor().copy("COPY item FROM STDIN") as copy:
        await copy.write_row((1, "slow"))
    if not conn.autocommit:
        await conn.commit()


async def streamed(conn: Any) -> None:
    async for _ in conn.cursor().stream(f"{SLOW} RETURNING id"):
        pass
    if not conn.autocommit:
        await conn.commit()


async def given_up(library: Any, url: str, work: Callable[[Any], Awaitable[None]], autocommit: bool) -> Any:
    """Begin some work, give it up while the server sleeps in it, and say what the connection is good for then."""
    async with await library.AsyncConnection.connect(url, autocommit=autocommit) as conn:
        with session.bind(request="given up"):
            task = asyncio.ensure_future(work(conn))
            async with await plain.AsyncConnection.connect(url, autocommit=True) as other:
                asks = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND wait_event = 'PgSleep'"
                while (await (await other.execute(asks, (conn.info.backend_pid,))).fetchone()) == (0,):  # noqa: ASYNC110 - the server has no event
                    await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        status = conn.info.transaction_status
        if status != TransactionStatus.IDLE:
            await conn.rollback()
        with session.bind(request="next"):
            await conn.execute("INSERT INTO item VALUES (2, 'next')")
            await conn.commit()
        cursor = await conn.execute("SELECT id FROM item ORDER BY id")
        return status, await cursor.fetchall(), conn.info.pipeline_status


WAYS = [committed, in_a_block, in_a_script, by_text, copied, streamed]


@pytest.mark.parametrize(
    ("work", "autocommit"), [(alone, True), *((work, autocommit) for work in WAYS for autocommit in (False, True))]
)
def test_a_task_cancelled_while_it_commits_leaves_nothing_behind(
    log: TagLog, work: Callable[[Any], Awaitable[None]], autocommit: bool
) -> None:
    def attempt(library: Any) -> Any:
        with plain.connect(log.url, autocommit=True) as conn:
            conn.execute("TRUNCATE item CASCADE")
        return asyncio.run(asyncio.wait_for(given_up(library, log.url, work, autocommit), timeout=25))

    theirs = attempt(plain)
    log.read()
    assert attempt(psycopg) == theirs
    assert [(tags, changes) for tags, changes in log.seen() if "T" not in changes] == [(["next"], "I")]


def test_interleaved_requests_on_their_own_connections_never_swap_tags(log: TagLog) -> None:
    async def request(number: int) -> None:
        async with await psycopg.AsyncConnection.connect(log.url, autocommit=number % 2 == 0) as conn:
            for step in range(4):
                key = 100 * number + step
                with session.bind(request=str(key)):
                    await conn.execute("INSERT INTO item VALUES (%s, 'a')", (key,))
                    await asyncio.sleep(0)
                    await conn.execute(f"UPDATE item SET name = 'b' WHERE id = {key}; SELECT 1")
                    await conn.commit()

    async def main() -> None:
        await asyncio.wait_for(asyncio.gather(*(request(number) for number in range(1, 7))), timeout=40)

    asyncio.run(main())
    seen = log.seen()
    expected = [
        ([str(100 * n + step)], changes)
        for n in range(1, 7)
        for step in range(4)
        for changes in (["I", "U"] if n % 2 == 0 else ["IU"])
    ]
    assert sorted(seen) == sorted(expected)
