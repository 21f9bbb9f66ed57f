"""The wrapped psycopg in pipelines: each transaction that the server makes of them has one tag, whatever ends it."""

from contextlib import suppress
from typing import Any

import psycopg as plain
import pytest

from commitlog.drivers import psycopg, session
from fixtures.psycopg_play import connected
from fixtures.tagged import TagLog

Step = tuple[str | None, str]
"""Whose request does something, and what: one of `ACTS`, or a statement."""

INSERT = "INSERT INTO item VALUES ((SELECT count(*) FROM item), 'a')"
RETURNING = f"{INSERT} RETURNING id"

ACTS: dict[str, Any] = {
    "insert": lambda conn, pipeline: conn.execute(INSERT),
    "prepared": lambda conn, pipeline: conn.execute(INSERT, prepare=True),
    "fetch": lambda conn, pipeline: conn.execute(RETURNING).fetchone(),
    "select": lambda conn, pipeline: conn.execute("SELECT 1").fetchone(),
    "no rows": lambda conn, pipeline: conn.cursor().executemany("INSERT INTO item VALUES (%s)", []),
    "rows": lambda conn, pipeline: conn.cursor().executemany(INSERT, [()]),
    "rows back": lambda conn, pipeline: conn.cursor().executemany(RETURNING, [()], returning=True),
    "no such type": lambda conn, pipeline: conn.execute("INSERT INTO item VALUES (%s)", (object(),)),
    "no such types": lambda conn, pipeline: conn.cursor().executemany("INSERT INTO item VALUES (%s)", [(object(),)]),
    "commit()": lambda conn, pipeline: conn.commit(),
    "rollback()": lambda conn, pipeline: conn.rollback(),
    "sync()": lambda conn, pipeline: pipeline.sync(),
}


def run(library: Any, url: str, steps: list[Step], *, asynchronous: bool, autocommit: bool) -> None:
    """Do the steps in a pipeline, and commit what it leaves open after one more insert."""
    with connected(library, url, asynchronous=asynchronous, autocommit=autocommit) as conn:
        with suppress(plain.Error), conn.pipeline() as pipeline:
            for request, act in steps:
                with session.resume(session.make(request=request) if request else None), suppress(plain.Error):
                    ACTS[act](conn, pipeline) if act in ACTS else conn.execute(act)
        if conn.info.transaction_status != plain.pq.TransactionStatus.IDLE:
            with session.bind(request="after"):
                conn.execute(INSERT)
                conn.commit()


def steps_of(text: str) -> list[Step]:
    """Read `a: insert, COMMIT; b: insert` as steps; `-` stands for no request."""
    return [
        (None if request == "-" else request, act)
        for request, _, acts in (part.strip().partition(": ") for part in text.split(";"))
        for act in acts.split(", ")
    ]


LONE = [
    ("a: no rows; b: insert", [(["b"], "I")]),
    ("a: no such type; b: insert", [(["b"], "I")]),
    ("a: no such types; b: insert", [(["b"], "I")]),
    ("a: rows; b: insert", [(["a"], "II")]),
    ("a: prepared; b: prepared", [(["a"], "II")]),
    ("a: select; b: insert, insert", [(["b"], "II")]),
    ("a: insert; b: COMMIT", [(["a"], "I")]),
    ("a: insert; b: END; c: insert", [(["a"], "I"), (["c"], "I")]),
    ("a: insert; -: COMMIT; c: insert", [(["a"], "I"), (["c"], "I")]),
    ("a: fetch; b: COMMIT; c: insert", [(["a"], "I"), (["c"], "I")]),
    ("a: rows back; b: insert, COMMIT", [(["a"], "II")]),
    ("a: insert; b: commit(); c: insert", [(["a"], "I"), (["c"], "I")]),
    ("a: insert, insert; b: commit(); c: insert", [(["a"], "II"), (["c"], "I")]),
    ("a: insert; b: rollback(); c: insert", [(["a"], "I"), (["c"], "I")]),
    ("a: insert; b: ROLLBACK; c: insert", [(["c"], "I")]),
    ("a: insert, ROLLBACK", []),
    ("a: insert, COMMIT AND CHAIN", []),
    ("a: insert, SAVEPOINT s", []),
    ("a: insert, PREPARE TRANSACTION 'p', sync(), COMMIT PREPARED 'p'", [(["a"], "I")]),
    ("a: insert; b: BEGIN; c: insert; d: COMMIT; e: insert", [(["a"], "II"), (["e"], "I")]),
    ("a: insert; b: BEGIN; c: insert, sync(), insert, COMMIT", [(["a"], "III")]),
    ("a: insert; b: BEGIN; c: insert", [(["a"], "III")]),
    ("a: insert; b: BEGIN, ROLLBACK; c: insert", [(["c"], "I")]),
    ("a: BEGIN; b: insert; c: COMMIT; d: insert", [(["b"], "I"), (["d"], "I")]),
    ("a: BEGIN, fetch; b: fetch; c: COMMIT", [(["a"], "II")]),
    ("a: BEGIN, select; b: rows back, insert; c: commit(); d: insert", [(["a"], "II"), (["d"], "I")]),
    ("a: BEGIN, insert, COMMIT AND CHAIN; b: insert", [(["a"], "I"), (["b"], "II")]),
    ("a: BEGIN, insert, ROLLBACK AND CHAIN; b: insert; c: COMMIT", [(["b"], "I")]),
    ("a: BEGIN, insert, COMMIT /* AND CHAIN */; b: insert", [(["a"], "I"), (["b"], "I")]),
    ("a: BEGIN, insert, SAVEPOINT s; b: insert, ROLLBACK TO s, COMMIT", [(["a"], "I")]),
    ("-: BEGIN; a: insert; -: sync(); b: insert; -: COMMIT", [(["a"], "II")]),
    ("a: BEGIN, COMMIT; -: insert, COMMIT; a: insert", [([], "I"), (["a"], "I")]),
    ("a: insert, BEGIN ISOLATION LEVEL SERIALIZABLE, sync(); b: insert", [(["b"], "I")]),
]
IN_TRANSACTIONS = [
    ("a: no rows, insert; b: insert, COMMIT; c: insert", [(["a"], "II"), (["c"], "I")]),
    ("a: insert, COMMIT, select; b: insert; c: insert", [(["a"], "I"), (["b"], "II")]),
    ("a: insert, COMMIT; b: fetch; c: commit(); d: insert, COMMIT", [(["a"], "I"), (["b"], "I"), (["d"], "I")]),
    ("a: insert, COMMIT AND CHAIN; b: insert", [(["a"], "I"), (["b"], "II")]),
    ("a: insert, ROLLBACK; b: insert, BEGIN; c: insert, COMMIT", [(["b"], "II")]),
]


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize(
    ("autocommit", "text", "seen"),
    [(True, *case) for case in LONE] + [(False, *case) for case in IN_TRANSACTIONS],
)
def test_each_transaction_of_a_pipeline_has_the_tag_of_its_first_write(
    log: TagLog, asynchronous: bool, autocommit: bool, text: str, seen: list[tuple[list[str], str]]
) -> None:
    """What a COMMIT given as text or a sync ends, and what a BEGIN takes over; a call that sends nothing begins nothing."""
    steps = steps_of(text)
    before = session.counters()
    run(psycopg, log.url, steps, asynchronous=asynchronous, autocommit=autocommit)
    assert log.seen() == seen
    assert session.counters() == before
    log.clear()
    run(plain, log.url, steps, asynchronous=asynchronous, autocommit=autocommit)
    assert [changes for _, changes in log.seen()] == [changes for _, changes in seen]
