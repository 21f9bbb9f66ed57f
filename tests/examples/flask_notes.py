"""Flask with SQLAlchemy: what a request writes carries the request's id into the database's own log.

    DATABASE_URL=postgresql://… flask --app flask_notes run

The middleware binds the request while the app, or its streamed response, is at work. A thread of one's own does not
inherit that: it gets the request's context by hand.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

from flask import Flask, Response, request, stream_with_context
from sqlalchemy import create_engine, insert, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from commitlog.drivers import psycopg
from commitlog.drivers.wsgi import CommitLogMiddleware

app = Flask(__name__)
app.wsgi_app = CommitLogMiddleware(app.wsgi_app)  # type: ignore[method-assign] # as Flask's documentation has it

engine = create_engine(os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+psycopg:"), module=psycopg)
workers = ThreadPoolExecutor(2)


class Base(DeclarativeBase):
    pass


class Note(Base):
    __tablename__ = "note"

    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(unique=True)


Base.metadata.create_all(engine)
with engine.begin() as conn:
    conn.execute(insert(Note).values(text="the first one"))


def write(text: str) -> None:
    with Session(engine) as orm:
        orm.add(Note(text=text))
        orm.commit()


@app.post("/notes")
def add() -> str:
    write(request.args["text"])
    return request.args["text"]


@app.post("/notes/later")
def add_later() -> str:
    workers.submit(copy_context().run, write, request.args["text"])
    return request.args["text"]


@app.get("/notes")
def export() -> Response:
    def lines() -> Iterator[str]:
        with Session(engine) as orm:
            for text in orm.scalars(select(Note.text).order_by(Note.id).execution_options(yield_per=100)):
                yield f"{text}\n"
        write(request.args["visitor"])

    return Response(stream_with_context(lines()), mimetype="text/plain")
