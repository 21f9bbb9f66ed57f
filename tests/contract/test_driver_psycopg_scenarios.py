"""What apps do with psycopg beside plain statements, done through plain psycopg and through the wrapper: seen the same."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg as plain
import pytest
from psycopg.adapt import Dumper, Loader
from psycopg.rows import class_row, dict_row, namedtuple_row, scalar_row
from psycopg.types.json import Jsonb
from psycopg.types.range import Range

from commitlog.drivers import psycopg, session
from fixtures.psycopg_play import connected, described
from fixtures.tagged import TagLog, when_asleep

IDLE = plain.pq.TransactionStatus.IDLE
INSERT = "INSERT INTO item VALUES (%s, %s)"


@dataclass
class Item:
    id: int
    name: str | None


class Shout:
    """A type of an app, with a dumper of its own."""


class ShoutDumper(Dumper):
    def dump(self, obj: Any) -> bytes:
        return b"SHOUT"


class BackwardLoader(Loader):
    def load(self, data: Any) -> str:
        return bytes(data).decode()[::-1]


def error_of(act: Callable[[], object]) -> Any:
    """What an error says, or that there was none."""
    try:
        act()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is compared
        return described(error)
    return "no error"


def pipeline_that_aborts(conn: Any) -> Any:
    seen = []
    with conn.pipeline() as pipeline:
        first = conn.execute("SELECT 1")
        seen.append(error_of(lambda: conn.execute("SELECT * FROM nowhere").fetchone()))
        seen.append(error_of(lambda: conn.execute("SELECT 2").fetchone()))
        seen.append(error_of(pipeline.sync))
        seen.append(error_of(lambda: conn.rollback()))
        conn.execute(INSERT, (1, "after"))
        last = conn.execute("SELECT count(*) FROM item")
    return [*seen, first.fetchall(), last.fetchall()]


def pipeline_that_fails_at_commit(conn: Any) -> Any:
    # In autocommit it fails at a sync, and psycopg loses count of its results.
    conn.autocommit = False
    with conn.pipeline():
        conn.execute("INSERT INTO part VALUES (99)")
        failed = error_of(conn.commit)
        after = conn.execute("SELECT 1")
    return failed, after.fetchone()


def pipeline_in_and_around_blocks(conn: Any) -> Any:
    with conn.pipeline(), conn.transaction():
        conn.execute(INSERT, (1, "a"))
        with conn.pipeline() as inner, conn.transaction() as savepoint:
            conn.execute(INSERT, (2, "b"))
            name = savepoint.savepoint_name
        inner.sync()
    with conn.transaction(), conn.pipeline():
        conn.execute(INSERT, (3, "c"))
        cursor = conn.execute("SELECT id FROM item ORDER BY id")
    return name, cursor.fetchall(), inner.status


def executemany_in_pipelines(conn: Any) -> Any:
    cursor = conn.cursor()
    with conn.pipeline():
        cursor.executemany(INSERT + " RETURNING id", [(1, "a"), (2, "b")], returning=True)
        seen = [cursor.rowcount, cursor.fetchone(), cursor.nextset(), cursor.fetchone(), cursor.nextset()]
        other = conn.cursor()
        other.executemany(INSERT, [(3, "c"), (4, "d")])
        seen.append(error_of(other.fetchone))
    return seen, other.rowcount, other.statusmessage


def blocks_in_the_wrong_order(conn: Any) -> Any:
    first, second = conn.transaction(), conn.transaction()
    first.__enter__()
    second.__enter__()
    seen = [error_of(lambda: first.__exit__(None, None, None)), error_of(lambda: second.__exit__(None, None, None))]
    conn.rollback()
    return seen, error_of(lambda: first.__enter__())


def what_a_block_forbids(conn: Any) -> Any:
    with conn.transaction() as block:
        return (
            [error_of(act) for act in (conn.commit, conn.rollback)],
            error_of(lambda: setattr(conn, "autocommit", False)),
            error_of(lambda: setattr(conn, "read_only", True)),
            block.savepoint_name,
        )


def rollback_of_an_outer_block(conn: Any) -> Any:
    with conn.transaction() as outer:
        conn.execute(INSERT, (1, "a"))
        with conn.transaction("odd; name"):
            conn.execute(INSERT, (2, "b"))
            raise plain.Rollback(getattr(outer, "of", outer))
    return outer.status, conn.execute("SELECT count(*) FROM item").fetchone()


def two_phases(conn: Any) -> Any:
    conn.rollback()
    conn.autocommit = False
    seen = []
    xid = conn.xid(7, "global", "branch")
    conn.tpc_begin(xid)
    conn.execute(INSERT, (1, "a"))
    seen.append(error_of(conn.commit))
    seen.append(error_of(lambda: conn.tpc_begin("again")))
    conn.tpc_prepare()
    seen.append(error_of(conn.tpc_prepare))
    seen.append(error_of(conn.tpc_rollback))
    conn.tpc_begin("plain name")
    conn.execute(INSERT, (2, "b"))
    conn.tpc_prepare()
    conn.tpc_commit()
    conn.tpc_begin("empty")
    conn.tpc_rollback()
    conn.execute(INSERT, (3, "c"))
    conn.execute("PREPARE TRANSACTION 'by hand'")
    seen.append([str(xid) for xid in conn.tpc_recover()])
    conn.tpc_commit("by hand")
    return seen, conn.info.transaction_status


def isolation(conn: Any) -> Any:
    conn.rollback()
    conn.autocommit = False
    seen = []
    for level, read_only in (
        (plain.IsolationLevel.SERIALIZABLE, True),
        (None, False),
        (plain.IsolationLevel.REPEATABLE_READ, None),
    ):
        conn.isolation_level, conn.read_only = level, read_only
        row = conn.execute("SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only')")
        seen.append(row.fetchone())
        seen.append(error_of(lambda: conn.execute(INSERT, (1, "a"))))
        seen.append(error_of(lambda: setattr(conn, "isolation_level", None)))
        conn.rollback()
    return seen


def row_factories(conn: Any) -> Any:
    conn.execute(INSERT, (1, "a"))
    seen: list[Any] = []
    for factory in (dict_row, scalar_row, class_row(Item), namedtuple_row):
        cursor = conn.cursor(row_factory=factory)
        seen.append(list(cursor.execute("UPDATE item SET name = name || 'x' RETURNING id, name")))
    return [[tuple(row) if hasattr(row, "_fields") else row for row in rows] for rows in seen]


def adapters(conn: Any) -> Any:
    conn.adapters.register_dumper(Shout, ShoutDumper)
    conn.adapters.register_loader("text", BackwardLoader)
    conn.execute("INSERT INTO item VALUES (%s, %s)", (1, Shout()))
    named = conn.execute(
        "INSERT INTO item VALUES (%(id)s, %(name)s) RETURNING name", {"id": 2, "name": "abc"}
    ).fetchone()
    kinds = conn.execute("SELECT %s, %s, %s::int4range", (Jsonb({"a": [1]}), [1, 2], Range(1, 5))).fetchone()
    return conn.execute("SELECT name FROM item ORDER BY id").fetchall(), named, kinds


def copies(conn: Any) -> Any:
    seen: list[Any] = []
    with conn.cursor() as cursor:
        with cursor.copy("COPY item (id, name) FROM STDIN WITH (FORMAT binary)") as copy:
            copy.set_types(["int4", "text"])
            copy.write_row((1, "one\ttab"))
            copy.write_row((2, None))
        seen.append((cursor.rowcount, cursor.statusmessage))
        with cursor.copy("COPY item FROM STDIN") as copy:
            copy.write("3\tthree\n")
            copy.write(b"4\t\\N\n")
        with cursor.copy("COPY (SELECT * FROM item WHERE id > %s ORDER BY id) TO STDOUT", (1,)) as copy:
            copy.set_types(["int4", "text"])
            seen.append(list(copy.rows()))
        with cursor.copy("COPY item TO STDOUT") as copy:
            seen.append(b"".join(copy))

    def wrong_line() -> None:
        with conn.cursor().copy("COPY item FROM STDIN") as copy:
            copy.write("x\ty\n")

    def not_a_copy() -> None:
        with conn.cursor().copy("INSERT INTO item VALUES (50, 'no copy')"):
            pass

    return seen, error_of(wrong_line), conn.info.transaction_status, error_of(not_a_copy)


def copies_where_psycopg_has_none(conn: Any) -> Any:
    """The server has begun a COPY when psycopg refuses it: nothing ends it but the connection's end."""
    failed = error_of(lambda: list(conn.cursor().stream("COPY item FROM STDIN")))
    status = conn.info.transaction_status
    conn.close()
    return failed, status


def server_cursors(conn: Any) -> Any:
    conn.execute("INSERT INTO item SELECT i, 'n' FROM generate_series(1, 9) i")
    with conn.transaction():
        with conn.cursor("c", scrollable=True) as cursor:
            cursor.execute("SELECT id FROM item ORDER BY id")
            seen = [cursor.fetchone(), cursor.fetchmany(2)]
            cursor.scroll(-2)
            seen.append(cursor.fetchone())
            cursor.itersize = 2
            seen.append(list(cursor))
        conn.execute("DECLARE stolen CURSOR FOR SELECT id FROM item ORDER BY id DESC")
        with conn.cursor("stolen") as stolen:
            seen.append(stolen.fetchmany(2))
    with conn.cursor("held", withhold=True) as held:
        held.execute("SELECT id FROM item ORDER BY id")
        conn.commit()
        seen.append(held.fetchall())
    with conn.cursor("bare") as cursor:
        seen.append(error_of(lambda: cursor.execute("INSERT INTO item VALUES (10, 'x') RETURNING id")))
        conn.rollback()
    return seen


def notifications(conn: Any) -> Any:
    heard: list[Any] = []
    conn.add_notify_handler(lambda notify: heard.append((notify.channel, notify.payload)))
    conn.execute("LISTEN news")
    conn.execute("NOTIFY news, 'one'")
    conn.execute(INSERT, (1, "a"))
    conn.commit()
    conn.execute("SELECT pg_notify('news', 'two')")
    conn.commit()
    conn.execute("SELECT 1")
    conn.commit()
    return heard


def notices(conn: Any) -> Any:
    told: list[Any] = []
    conn.add_notice_handler(lambda diag: told.append((diag.severity, diag.message_primary)))
    conn.execute("DO $$ BEGIN RAISE NOTICE 'hello'; END $$")
    conn.execute("BEGIN")
    conn.execute("BEGIN")
    conn.execute("COMMIT")
    conn.execute("COMMIT")
    return told


def cursor_classes(conn: Any) -> Any:
    kinds = ("Cursor", "ClientCursor", "RawCursor")
    library = psycopg if "commitlog" in type(getattr(conn, "of", conn)).__module__ else plain
    seen = []
    for number, kind in enumerate(kinds):
        conn.cursor_factory = getattr(library, ("Async" if hasattr(conn, "of") else "") + kind)
        text = "INSERT INTO item VALUES ($1, $2) RETURNING *" if kind == "RawCursor" else INSERT + " RETURNING *"
        cursor = conn.execute(text, (number, "it's; --"))
        seen.append((cursor.fetchall(), cursor._query.query))
    return seen


def statements_of_pq(conn: Any) -> Any:
    """An app that talks to libpq itself, in a transaction."""
    with conn.transaction():
        result = conn.pgconn.exec_(b"INSERT INTO item VALUES (1, 'raw')")
        conn.execute("SELECT 1")
    return result.command_status, conn.execute("SELECT * FROM item").fetchall()


def prepared(conn: Any) -> Any:
    conn.prepare_threshold = 1
    seen = [conn.execute(INSERT, (n, "p")).statusmessage for n in range(4)]
    conn.execute("ALTER TABLE item ADD COLUMN more int")
    seen += [conn.execute("SELECT * FROM item WHERE id = %s", (n,)).fetchone() for n in range(3)]
    conn.execute("ALTER TABLE item DROP COLUMN more")
    seen += [conn.execute("SELECT * FROM item WHERE id = %s", (n,)).fetchone() for n in range(3)]
    conn.prepared_max = 1
    seen += [
        conn.execute(f"UPDATE item SET name = %s WHERE id = {n}", (str(n),)).rowcount for n in range(4) for _ in "ab"
    ]
    names = "SELECT statement FROM pg_prepared_statements WHERE statement LIKE 'UPDATE%'"
    return seen, conn.execute(names, prepare=False).fetchall()


def cancelled(conn: Any) -> Any:
    with when_asleep(conn, getattr(conn, "of", conn).cancel):
        failed = error_of(lambda: conn.execute("INSERT INTO item SELECT 1, pg_sleep(20)::text"))
    status = conn.info.transaction_status
    conn.rollback()
    return failed, status, conn.execute("SELECT 1").fetchone()


def closed_in_the_middle(conn: Any) -> Any:
    conn.execute(INSERT, (1, "a"))
    conn.close()
    return [error_of(act) for act in (conn.commit, conn.rollback, lambda: conn.execute("SELECT 1"))], conn.closed


SCENARIOS = [
    value
    for name, value in list(globals().items())
    if callable(value) and "conn" in getattr(value, "__annotations__", {})
]


def seen_by(library: Any, url: str, act: Callable[[Any], Any], asynchronous: bool, autocommit: bool) -> Any:
    with plain.connect(url, autocommit=True) as conn:
        conn.execute("SET lock_timeout = '5s'")
        conn.execute("TRUNCATE item CASCADE")
    with connected(library, url, asynchronous=asynchronous, autocommit=autocommit) as conn:
        try:
            seen = act(conn)
            if not conn.closed:
                conn.commit()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is compared
            seen = described(error)
    with plain.connect(url, autocommit=True) as conn:
        return seen, conn.execute("SELECT id, name FROM item ORDER BY id").fetchall()


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("autocommit", [False, True], ids=["transaction", "autocommit"])
@pytest.mark.parametrize("act", SCENARIOS, ids=lambda act: act.__name__)
def test_seen_as_in_plain_psycopg_and_tagged(
    log: TagLog, act: Callable[[Any], Any], asynchronous: bool, autocommit: bool
) -> None:
    theirs = seen_by(plain, log.url, act, asynchronous, autocommit)
    log.read()
    with session.bind(request="r"):
        ours = seen_by(psycopg, log.url, act, asynchronous, autocommit)
    assert ours == theirs
    assert seen_by(psycopg, log.url, act, asynchronous, autocommit) == theirs, "without a session"
    seen = [(tags, changes) for tags, changes in log.seen() if changes.strip("T")]
    half = [changes for _, changes in seen[: len(seen) // 2]]
    assert seen == [*((["r"], changes) for changes in half), *(([], changes) for changes in half)]
