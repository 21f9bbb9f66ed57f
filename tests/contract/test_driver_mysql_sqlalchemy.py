"""SQLAlchemy over the wrapped PyMySQL and mysqlclient: Core and ORM, each transaction with the tag of its session."""

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from commitlog.drivers import session
from fixtures.stamped import DRIVERS, StampLog

pytestmark = pytest.mark.parametrize("driver", DRIVERS[:2], indirect=True)


class Base(DeclarativeBase):
    """The tables of the app."""


class Note(Base):
    __tablename__ = "note"

    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(sa.String(20))
    more: Mapped[Any] = mapped_column(sa.JSON, nullable=True)
    marks: Mapped[list["Mark"]] = relationship(back_populates="note")


class Mark(Base):
    __tablename__ = "mark"

    id: Mapped[int] = mapped_column(primary_key=True)
    note_id: Mapped[int] = mapped_column(sa.ForeignKey("note.id"))
    note: Mapped[Note] = relationship(back_populates="marks")


@pytest.fixture
def engine(stamp_log: StampLog, monkeypatch: pytest.MonkeyPatch) -> Iterator[sa.Engine]:
    """One with the app's tables. A write that cannot be tagged is an error in all of these tests."""
    monkeypatch.setattr(session, "_settings", session.Settings(None, None, None, "raise", None))
    driver = stamp_log.driver
    dialect = {"pymysql": "pymysql", "MySQLdb": "mysqldb"}[driver.plain.__name__]
    url = sa.make_url(stamp_log.url).set(drivername=f"{stamp_log.server.product}+{dialect}")
    opened = sa.create_engine(
        url, module=driver.wrapped, connect_args=dict(driver.options), pool_size=1, max_overflow=0
    )
    Base.metadata.create_all(opened)
    stamp_log.read()
    yield opened
    opened.dispose()


def add(number: int) -> sa.TextClause:
    return sa.text("INSERT INTO item VALUES (:id, 'a')").bindparams(id=number)


def test_core_tags_what_is_committed_and_nothing_else(stamp_log: StampLog, engine: sa.Engine) -> None:
    with engine.connect() as conn:
        assert type(conn.connection.driver_connection) is stamp_log.driver.wrapped.Connection
        conn.rollback()
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
            with pytest.raises(sa.exc.IntegrityError), conn.begin_nested():
                conn.execute(add(3))
        with conn.begin():
            conn.execute(add(4))
    with session.bind(request="auto"), engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        conn.execute(add(5))
        conn.execute(add(6))
    with session.bind(request="pooled"), engine.begin() as conn:
        conn.execute(add(7))
    assert stamp_log.seen() == [
        (["one"], "I"),
        (["two"], "ID"),
        ([], "I"),
        (["auto"], "I"),
        (["auto"], "I"),
        (["pooled"], "I"),
    ]


def test_the_orm_tags_each_unit_of_work(stamp_log: StampLog, engine: sa.Engine) -> None:
    with session.bind(request="new"), Session(engine) as work, work.begin():
        work.add_all([Note(text=str(number), more={"n": number}, marks=[Mark(), Mark()]) for number in range(50)])
    with session.bind(request="read"), Session(engine) as work:
        notes = work.scalars(sa.select(Note).order_by(Note.id)).all()
        assert [(note.text, note.more, len(note.marks)) for note in notes[:2]] == [
            ("0", {"n": 0}, 2),
            ("1", {"n": 1}, 2),
        ]
        assert work.scalars(sa.select(Note.id).execution_options(yield_per=7)).all() == [note.id for note in notes]
    with session.bind(request="change"), Session(engine) as work, work.begin():
        work.get_one(Note, notes[0].id, with_for_update=True).text = "changed"
        work.execute(sa.insert(Note), [{"text": "x"}, {"text": "y"}])
    with session.bind(request="two phases"), Session(engine, twophase=True) as work:
        work.add(Note(text="z"))
        work.commit()
    assert stamp_log.seen() == [
        (["new"], "I" * 150),
        (["change"], "UII"),
        (["two phases"], "I"),
    ]
