"""SQLAlchemy over the wrapped psycopg: Core and ORM, sync and async, each transaction with the tag of its session."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from commitlog.drivers import psycopg, session
from commitlog.drivers import sqlalchemy as driver
from fixtures.tagged import TagLog


class Base(DeclarativeBase):
    """The tables of the app."""


class Note(Base):
    __tablename__ = "note"

    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]
    more: Mapped[Any] = mapped_column(pg.JSONB, nullable=True)
    span: Mapped[Any] = mapped_column(pg.INT4RANGE, nullable=True)
    marks: Mapped[list["Mark"]] = relationship(back_populates="note")


class Mark(Base):
    __tablename__ = "mark"

    id: Mapped[int] = mapped_column(primary_key=True)
    note_id: Mapped[int] = mapped_column(sa.ForeignKey("note.id"))
    note: Mapped[Note] = relationship(back_populates="marks")


@pytest.fixture
def log(log: TagLog, monkeypatch: pytest.MonkeyPatch) -> TagLog:
    """One with the app's tables. A write that cannot be tagged is an error in all of these tests."""
    monkeypatch.setattr(session, "_settings", session.Settings(None, None, None, "raise", None))
    with engine_of(log) as engine:
        Base.metadata.create_all(engine)
    log.read()
    return log


@contextmanager
def engine_of(log: TagLog, **options: Any) -> Iterator[sa.Engine]:
    engine = sa.create_engine(log.url.replace("postgresql:", "postgresql+psycopg:"), module=psycopg, **options)
    try:
        yield engine
    finally:
        engine.dispose()


@asynccontextmanager
async def async_engine_of(log: TagLog, **options: Any) -> AsyncIterator[AsyncEngine]:
    url = log.url.replace("postgresql:", "postgresql+psycopg:")
    engine = create_async_engine(url, module=driver.psycopg_async, **options)
    try:
        yield engine
    finally:
        await engine.dispose()


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(main(), timeout=50)

    asyncio.run(bounded())


@pytest.fixture
def engine(log: TagLog) -> Iterator[sa.Engine]:
    with engine_of(log, pool_size=1, max_overflow=0) as opened:
        yield opened


def add(number: int) -> sa.TextClause:
    return sa.text("INSERT INTO item VALUES (:id, 'a')").bindparams(id=number)


def test_connections_of_the_engine_are_the_wrapped_ones(engine: sa.Engine) -> None:
    with engine.connect() as conn:
        assert type(conn.connection.driver_connection) is psycopg.Connection
    assert driver.psycopg is psycopg


def test_core_tags_what_is_committed_and_nothing_else(log: TagLog, engine: sa.Engine) -> None:
    with engine.connect() as conn:
        with session.bind(request="one"):
            conn.execute(add(1))
            conn.commit()
        with session.bind(request="gone"):
            conn.execute(add(2))
            conn.rollback()
        with session.bind(request="read"), conn.begin():
            assert conn.scalar(sa.text("SELECT count(*) FROM item")) == 1
        with session.bind(request="two"), conn.begin():
            conn.execute(add(3))
            conn.execute(sa.text("DELETE FROM item WHERE id = 1"))
        with conn.begin():
            conn.execute(add(4))
    assert log.seen() == [(["one"], "I"), (["two"], "ID"), ([], "I")]


def test_savepoints_keep_the_one_tag_of_their_transaction(log: TagLog, engine: sa.Engine) -> None:
    with session.bind(request="outer"), engine.begin() as conn:
        conn.execute(add(1))
        with pytest.raises(sa.exc.IntegrityError), conn.begin_nested():
            conn.execute(add(1))
        with conn.begin_nested():
            conn.execute(add(2))
        conn.begin_nested().rollback()
    assert log.seen() == [(["outer"], "II")]


def test_the_orm_tags_each_flushed_unit_of_work(log: TagLog, engine: sa.Engine) -> None:
    with Session(engine) as orm:
        with session.bind(request="create"):
            note = Note(text="a", more={"n": [1, None]}, span=pg.Range(1, 5), marks=[Mark(), Mark()])
            orm.add(note)
            orm.commit()
        with session.bind(request="change"):
            note.text = "b"
            orm.flush()
            with orm.begin_nested():
                orm.delete(note.marks[0])
            orm.commit()
        with session.bind(request="lost"):
            note.text = "c"
            orm.flush()
            orm.rollback()
        with session.bind(request="bulk"):
            orm.execute(sa.update(Note).values(text=Note.text + "!"))
            new = pg.insert(Note).values(id=note.id, text="x")
            orm.execute(new.on_conflict_do_update(index_elements=["id"], set_={"text": "y"}))
            orm.commit()
        assert (note.text, note.more, note.span) == ("y", {"n": [1, None]}, pg.Range(1, 5))
    assert log.seen() == [(["create"], "III"), (["change"], "UD"), (["bulk"], "UU")]


def test_many_rows_inserted_with_their_keys_read_back_are_one_tagged_transaction(
    log: TagLog, engine: sa.Engine
) -> None:
    with Session(engine) as orm, session.bind(request="many"):
        notes = [Note(text=str(number)) for number in range(1500)]
        orm.add_all(notes)
        orm.commit()
        assert len({note.id for note in notes}) == 1500
    assert log.seen() == [(["many"], "I" * 1500)]


@pytest.mark.parametrize("of_engine", [True, False])
def test_in_autocommit_every_statement_has_its_own_tag(log: TagLog, of_engine: bool) -> None:
    options = {"isolation_level": "AUTOCOMMIT"} if of_engine else {}
    with engine_of(log, **options) as engine, engine.connect() as plain:
        conn = plain.execution_options(isolation_level="AUTOCOMMIT")
        with session.bind(request="alone"):
            conn.execute(add(1))
            conn.execute(sa.text("INSERT INTO item VALUES (:id, 'm')"), [{"id": 2}, {"id": 3}])
            ids = conn.scalars(sa.insert(Note).returning(Note.id), [{"text": "a"}, {"text": "b"}, {"text": "c"}]).all()
            conn.execute(sa.text("VACUUM item"))
            conn.rollback()
        assert len(ids) == 3
        conn.execute(add(4))
    assert log.seen() == [(["alone"], "I"), (["alone"], "II"), (["alone"], "III"), ([], "I")]


def test_a_connection_back_from_autocommit_begins_transactions_again(log: TagLog, engine: sa.Engine) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn, session.bind(request="first"):
        conn.execute(add(1))
    with session.bind(request="second"), engine.begin() as again:
        again.execute(add(2))
        again.execute(add(3))
    assert log.seen() == [(["first"], "I"), (["second"], "II")]


def test_two_phase_transactions_are_tagged_when_prepared_and_committed_by_anyone(
    log: TagLog, engine: sa.Engine, unique: str
) -> None:
    with engine.connect() as conn:
        with session.bind(request="phases"):
            both = conn.begin_twophase()
            conn.execute(add(1))
            both.prepare()
            both.commit()
        with session.bind(request="one phase"), conn.begin_twophase():
            conn.execute(add(2))
        with session.bind(request="back"):
            gone = conn.begin_twophase()
            conn.execute(add(3))
            gone.prepare()
            gone.rollback()
        with session.bind(request="prepared"):
            left = conn.begin_twophase(unique)
            conn.execute(add(4))
            left.prepare()
            conn.invalidate()
    with session.bind(request="someone else"), engine.connect() as other:
        assert any(unique in xid for xid in other.recover_twophase())
        other.commit_prepared(unique, recover=True)
    assert log.seen() == [(["phases"], "I"), (["one phase"], "I"), (["prepared"], "I")]


@pytest.mark.parametrize(("reset", "expected"), [("rollback", [([], "I")]), ("commit", [(["left"], "I"), ([], "I")])])
def test_what_returns_to_the_pool_unfinished_ends_as_the_pool_says(
    log: TagLog, reset: str, expected: list[tuple[list[str], str]]
) -> None:
    with engine_of(log, pool_size=1, max_overflow=0, pool_reset_on_return=reset) as engine:
        raw = engine.raw_connection()  # SQLAlchemy's own connections never return unfinished
        with session.bind(request="left"):
            raw.cursor().execute("INSERT INTO item VALUES (1, 'a')")
        with session.bind(request="who returns it"):
            raw.close()
        with engine.begin() as conn:
            conn.execute(add(2))
    assert log.seen() == expected


def test_pre_ping_replaces_a_lost_connection_and_the_tag_is_the_new_requests(log: TagLog) -> None:
    with engine_of(log, pool_size=1, max_overflow=0, pool_pre_ping=True) as engine:
        with session.bind(request="before"), engine.begin() as conn:
            conn.execute(add(1))
            pid = conn.scalar(sa.text("SELECT pg_backend_pid()"))
        with engine_of(log) as admin, admin.connect() as killer:
            killer.execute(sa.text("SELECT pg_terminate_backend(:pid, 20000)"), {"pid": pid})
        with session.bind(request="after"), engine.begin() as conn:
            conn.execute(add(2))
            assert conn.scalar(sa.text("SELECT pg_backend_pid()")) != pid
    assert log.seen() == [(["before"], "I"), (["after"], "I")]


def test_server_side_cursors_read_while_the_transaction_writes(log: TagLog, engine: sa.Engine) -> None:
    with engine.begin() as conn:
        conn.execute(sa.text("INSERT INTO item SELECT g, 'a' FROM generate_series(1, 20) g"))
    with session.bind(request="stream"), engine.begin() as conn:
        rows = conn.execute(sa.text("SELECT id FROM item ORDER BY id"), execution_options={"yield_per": 7})
        first = [row.id for row in next(rows.partitions())]
        conn.execute(sa.text("UPDATE item SET name = 'b' WHERE id = 1"))
        assert first + [row.id for row in rows] == list(range(1, 21))
    assert log.seen() == [([], "I" * 20), (["stream"], "U")]


def test_a_serialization_failure_leaves_the_tag_of_the_retry_alone(log: TagLog) -> None:
    with engine_of(log, isolation_level="SERIALIZABLE") as engine:
        with engine.begin() as conn:
            conn.execute(add(1))
        with session.bind(request="loser"), engine.connect() as one:
            one.execute(sa.text("SELECT * FROM item"))
            with session.bind(request="winner"), engine.begin() as two:
                two.execute(sa.text("UPDATE item SET name = 'w'"))
            with pytest.raises(sa.exc.OperationalError) as failed:
                one.execute(sa.text("UPDATE item SET name = 'l'"))
            assert isinstance(failed.value.orig, psycopg.errors.SerializationFailure)
            one.rollback()
            one.execute(sa.text("UPDATE item SET name = 'again'"))
            one.commit()
    assert log.seen() == [([], "I"), (["winner"], "U"), (["loser"], "U")]


def test_async_core_and_orm_tag_in_the_same_ways(log: TagLog) -> None:
    async def main() -> None:
        async with async_engine_of(log, pool_size=1, max_overflow=0, pool_pre_ping=True) as engine:
            async with engine.connect() as conn:
                raw = await conn.get_raw_connection()
                assert type(raw.driver_connection) is psycopg.AsyncConnection
                with session.bind(request="core"):
                    await conn.execute(add(1))
                    await conn.commit()
                with session.bind(request="gone"):
                    await conn.execute(add(2))
                    await conn.rollback()
                with session.bind(request="sync"):
                    await conn.run_sync(lambda sync: sync.execute(add(3)))
                    await conn.commit()
                with session.bind(request="phases"):
                    both = await conn.run_sync(lambda sync: sync.begin_twophase())
                    await conn.execute(add(4))
                    await conn.run_sync(lambda sync: both.prepare())
                    await conn.run_sync(lambda sync: both.commit())
            with session.bind(request="alone"):
                async with engine.connect() as conn:
                    alone = await conn.execution_options(isolation_level="AUTOCOMMIT")
                    await alone.execute(add(5))
                    await alone.execute(sa.text("INSERT INTO item VALUES (:id, 'm')"), [{"id": 6}, {"id": 7}])
            with session.bind(request="orm"):
                async with AsyncSession(engine) as orm:
                    orm.add_all([Note(text="a"), Note(text="b", marks=[Mark()])])
                    await orm.flush()
                    async with orm.begin_nested():
                        orm.add(Note(text="c"))
                    rows = await orm.stream_scalars(
                        sa.select(Note).order_by(Note.id), execution_options={"yield_per": 2}
                    )
                    assert [note.text async for note in rows] == ["a", "b", "c"]
                    await orm.commit()

    run(main)
    alone = [(["alone"], "I"), (["alone"], "II")]
    assert log.seen() == [(["core"], "I"), (["sync"], "I"), (["phases"], "I"), *alone, (["orm"], "IIII")]


def test_interleaved_requests_on_one_async_engine_never_swap_tags(log: TagLog) -> None:
    async def serve(engine: AsyncEngine, number: int) -> None:
        with session.bind(request=str(number)):
            async with AsyncSession(engine) as orm:
                note = Note(text=str(number))
                orm.add(note)
                await orm.flush()
                await asyncio.sleep(0)
                if number % 3 == 0:
                    await orm.rollback()
                    orm.add(Note(text=str(number)))
                note.text += "!"
                await orm.commit()

    async def main() -> None:
        async with async_engine_of(log, pool_size=3, max_overflow=1) as engine:
            await asyncio.gather(*(serve(engine, number) for number in range(60)))

    run(main)
    transactions = log.read()
    expected = [([str(number)], "I" if number % 3 == 0 else "IU") for number in range(60)]
    assert sorted((t.requests, t.changes) for t in transactions) == sorted(expected)
    assert all(t.requests == [row[1]] for t in transactions for row in t.inserted)


def test_a_sync_engines_module_in_an_async_engine_fails_at_once_and_says_which_it_takes(log: TagLog) -> None:
    async def main() -> None:
        engine = create_async_engine(log.url.replace("postgresql:", "postgresql+psycopg:"), module=psycopg)
        with pytest.raises(AttributeError, match=r"module=commitlog.drivers.sqlalchemy.psycopg_async"):
            await engine.connect()
        await engine.dispose()

    run(main)
