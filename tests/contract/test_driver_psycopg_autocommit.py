"""The wrapped psycopg in autocommit: each statement that writes is a transaction with its tag, the rest is unchanged."""

from collections.abc import Callable, Iterator
from typing import Any

import psycopg as plain
import pytest
from psycopg import sql
from psycopg.rows import dict_row

from commitlog.drivers import psycopg, session
from fixtures.tagged import TABLES, TagLog


@pytest.fixture
def conn(log: TagLog) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(log.url, autocommit=True) as opened, session.bind(request="r"):
        yield opened


def counted(why: str) -> int:
    return session.counters().get(f"untagged: {why}", 0)


INSERT = "INSERT INTO item VALUES (1, 'a')"


@pytest.mark.parametrize(
    ("statement", "changes"),
    [
        (INSERT, "I"),
        ("INSERT INTO item VALUES (1, 'a;b') RETURNING id", "I"),
        ("-- first\n/* a comment; */ INSERT INTO item VALUES (1, '--');", "I"),
        ("UPDATE item SET name = 'b' WHERE id = 0", "U"),
        ("DELETE FROM item", "D"),
        ("TRUNCATE item CASCADE", "T"),
        ("WITH gone AS (DELETE FROM item RETURNING *) SELECT * FROM gone", "D"),
        ("WITH new AS (SELECT 5) INSERT INTO item SELECT *, 'c' FROM new", "I"),
        ("MERGE INTO item USING (VALUES (0)) v(i) ON id = i WHEN MATCHED THEN DELETE", "D"),
        ("SELECT add_item(7)", "I"),
        ("SELECT * FROM add_item(7)", "I"),
        ("EXPLAIN ANALYZE INSERT INTO item VALUES (1, 'a')", "I"),
        ("CREATE TABLE copied AS SELECT * FROM item", "I"),
        ("SELECT * INTO copied FROM item", "I"),
        ("EXECUTE add(8)", "I"),
        ("INSERT INTO item VALUES (1, 'a'); INSERT INTO item VALUES (2, 'b')", "II"),
        (b"INSERT INTO item VALUES (1, 'a')", "I"),
        (sql.SQL("INSERT INTO {} VALUES (1, 'a')").format(sql.Identifier("item")), "I"),
    ],
)
def test_one_statement_is_one_transaction_with_one_tag(
    log: TagLog, conn: psycopg.Connection[Any], statement: Any, changes: str
) -> None:
    with plain.connect(log.url, autocommit=True) as other:
        other.execute("INSERT INTO item VALUES (0, 'zero')")
    conn.execute("PREPARE add(int) AS INSERT INTO item VALUES ($1, 'x')")
    assert log.seen() == [([], "I")]
    conn.execute(statement)
    assert log.seen() == [(["r"], changes)]
    assert conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM item",
        "SELECT count(*), max(name) FROM item",
        "SELECT * FROM item FOR UPDATE",
        "SELECT add_item(1) WHERE false",
        "WITH a AS (SELECT 1) SELECT * FROM a",
        "UPDATE item SET name = 'x' WHERE false",
        "SHOW work_mem",
        "",
    ],
)
def test_what_writes_nothing_leaves_nothing_in_the_log(
    log: TagLog, conn: psycopg.Connection[Any], statement: str
) -> None:
    conn.execute(statement)
    assert log.seen() == []


def test_executemany_is_one_transaction_with_one_tag(log: TagLog, conn: psycopg.Connection[Any]) -> None:
    cursor = conn.cursor()
    cursor.executemany("INSERT INTO item VALUES (%s, 'a')", [(number,) for number in range(50)])
    assert cursor.rowcount == 50
    cursor.executemany("UPDATE item SET name = 'b' WHERE id = %s RETURNING id", [(1,), (2,)], returning=True)
    assert [result.fetchone() for result in cursor.results()] == [(1,), (2,)]
    with pytest.raises(psycopg.errors.UniqueViolation):
        cursor.executemany("INSERT INTO item VALUES (%s, 'a')", [(100,), (1,)])
    cursor.executemany("SELECT %s", [(1,)])
    assert log.seen() == [(["r"], "I" * 50), (["r"], "UU")]


@pytest.mark.parametrize("rows", [0, 3])
def test_copy_is_tagged_and_its_failure_leaves_nothing(log: TagLog, conn: psycopg.Connection[Any], rows: int) -> None:
    cursor = conn.cursor()
    with cursor.copy("COPY item FROM STDIN") as copy:
        for number in range(rows):
            copy.write_row((number, "a"))
    assert cursor.rowcount == rows
    assert cursor.statusmessage == f"COPY {rows}"
    assert log.seen() == ([(["r"], "I" * rows)] if rows else [])
    with cursor.copy("COPY item TO STDOUT") as copy:
        assert len(list(copy.rows())) == rows
    with cursor.copy("COPY (INSERT INTO item VALUES (7, 'a') RETURNING id) TO STDOUT") as copy:
        assert list(copy.rows()) == [("7",)]
    assert log.seen() == [(["r"], "I")]

    def fail() -> None:
        with cursor.copy("COPY item FROM STDIN") as copy:
            copy.write_row((8, "a"))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with pytest.raises(psycopg.errors.UniqueViolation), cursor.copy("COPY item FROM STDIN") as copy:
        copy.write_row((7, "a"))
    assert conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    assert log.seen() == []


def test_a_pipeline_is_tagged_once_for_each_sync(log: TagLog, conn: psycopg.Connection[Any]) -> None:
    with conn.pipeline() as pipeline:
        first = conn.execute("INSERT INTO item VALUES (1, 'a') RETURNING id")
        conn.execute("INSERT INTO item VALUES (2, 'a')")
        pipeline.sync()
        conn.execute("SELECT 1")
        pipeline.sync()
        conn.execute("INSERT INTO item VALUES (3, 'a')")
        assert first.fetchone() == (1,)
        with conn.transaction():
            conn.execute("INSERT INTO item VALUES (4, 'a')")
        conn.cursor().executemany("INSERT INTO item VALUES (%s, 'a')", [(5,), (6,)])

    def fail() -> None:
        with conn.pipeline():
            conn.execute("INSERT INTO item VALUES (7, 'a')")
            conn.execute("INSERT INTO item VALUES (1, 'a')")

    with pytest.raises(psycopg.errors.UniqueViolation):
        fail()
    assert log.seen() == [(["r"], "II"), (["r"], "I"), (["r"], "I"), (["r"], "II")]


def test_a_pipeline_with_two_sessions_belongs_to_the_first(log: TagLog, conn: psycopg.Connection[Any]) -> None:
    with conn.pipeline():
        conn.execute("INSERT INTO item VALUES (1, 'a')")
        with session.bind(request="second"):
            conn.execute("INSERT INTO item VALUES (2, 'a')")
    with session.bind(request="second"):
        conn.execute("INSERT INTO item VALUES (3, 'a')")
    assert log.seen() == [(["r"], "II"), (["second"], "I")]


@pytest.mark.parametrize(
    "statement",
    [
        "VACUUM item",
        "CREATE INDEX CONCURRENTLY item_name ON item (name)",
        "REINDEX TABLE CONCURRENTLY item",
        "ALTER SYSTEM RESET work_mem",
        "CLUSTER",
        "CREATE INDEX ON item (name)",
    ],
)
def test_what_refuses_a_transaction_block_works(log: TagLog, conn: psycopg.Connection[Any], statement: str) -> None:
    before = session.counters()
    conn.execute(statement)
    assert [changes for _, changes in log.seen() if changes] == []
    assert session.counters() == before


BY_ITSELF = "a procedure or block that may commit by itself, in autocommit"
ADD = "INSERT INTO item VALUES (%s, 'a')"


@pytest.mark.parametrize(
    ("run", "seen"),
    [
        (lambda conn: conn.execute(f"DO $$ BEGIN {INSERT}; END $$"), [(["r"], "I")]),
        (lambda conn: conn.execute(f"BEGIN; {INSERT}; COMMIT"), [(["r"], "I")]),
        (lambda conn: conn.execute(f"{INSERT}; COMMIT; {INSERT.replace('1', '2')} -- end"), [(["r"], "I")] * 2),
        (
            lambda conn: conn.execute(f"BEGIN; {INSERT}; COMMIT AND CHAIN; {INSERT.replace('1', '2')}; END"),
            [(["r"], "I")] * 2,
        ),
        (lambda conn: conn.execute(f"BEGIN; {INSERT}; ROLLBACK; SELECT 1; BEGIN; SELECT 2; COMMIT"), []),
        (lambda conn: list(conn.cursor().stream(f"{INSERT} RETURNING id")), [(["r"], "I")]),
        (lambda conn: list(conn.cursor().stream("SELECT add_item(i) FROM generate_series(1, 3) i")), [(["r"], "III")]),
        (lambda conn: conn.execute("COPY item (id) FROM PROGRAM 'seq 3'"), [(["r"], "III")]),
        (lambda conn: conn.cursor().executemany("SELECT add_item(%s)", [(1,), (2,)]), [(["r"], "II")]),
        (lambda conn: [conn.execute(ADD, (n,), prepare=True) for n in range(3)], [(["r"], "I")] * 3),
        (lambda conn: conn.execute("CREATE TABLE audited (i int)"), [(["r"], "I")]),
    ],
    ids="do script scripts chain rolled-back stream function copy executemany prepared event-trigger".split(),
)
def test_every_other_way_to_write_is_tagged_too(
    log: TagLog, conn: psycopg.Connection[Any], run: Callable[[Any], object], seen: list[tuple[list[str], str]]
) -> None:
    with plain.connect(log.url, autocommit=True) as other:
        other.execute(
            "CREATE FUNCTION note() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO item VALUES (77); END $$;"
            "CREATE EVENT TRIGGER note ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION note()"
        )
    log.read()
    before = session.counters()
    run(conn)
    assert [(tags, changes) for tags, changes in log.seen() if changes] == seen
    assert session.counters() == before
    assert conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


@pytest.mark.parametrize(
    ("run", "why", "seen"),
    [
        (lambda conn: conn.execute("CALL add_items()"), BY_ITSELF, [([], "I"), (["r"], "I")]),
        (
            lambda conn: conn.execute("DO $$ BEGIN INSERT INTO item VALUES (1, 'a'); COMMIT; END $$"),
            BY_ITSELF,
            [([], "I")],
        ),
        (
            lambda conn: conn.execute(f"/* a /* comment */ in one */ BEGIN; {INSERT}; COMMIT"),
            "several statements in one text, with transaction control, that cannot be told apart for certain",
            [([], "I")],
        ),
        (
            lambda conn: conn.cursor("held", withhold=True).execute("SELECT add_item(1)").close(),
            "a cursor WITH HOLD over what may write, which runs when its transaction commits",
            [([], "I")],
        ),
        (
            lambda conn: conn.execute("DECLARE c CURSOR WITH HOLD FOR SELECT add_item(1)"),
            "a cursor WITH HOLD over what may write, which runs when its transaction commits",
            [([], "I")],
        ),
        (
            lambda conn: conn.execute("BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT add_item(1); COMMIT"),
            "a cursor WITH HOLD over what may write, which runs when its transaction commits",
            [([], "I")],
        ),
        (
            lambda conn: plain.Cursor(conn).execute(INSERT),
            "a cursor that is not of this driver, in autocommit",
            [([], "I")],
        ),
    ],
    ids=["call", "do", "comments", "hold", "hold-text", "hold-script", "foreign-cursor"],
)
def test_what_cannot_be_tagged_works_and_is_counted(
    log: TagLog,
    conn: psycopg.Connection[Any],
    run: Callable[[Any], object],
    why: str,
    seen: list[tuple[list[str], str]],
) -> None:
    before = counted(why)
    run(conn)
    assert log.seen() == seen
    assert counted(why) == before + 1


def test_a_copy_left_in_the_middle_writes_as_in_plain_psycopg(log: TagLog, conn: psycopg.Connection[Any]) -> None:
    """The server has written all of it by then, whatever its caller reads of the answer."""
    text = "COPY (INSERT INTO item SELECT i, 'a' FROM generate_series(1, 5) i RETURNING id) TO STDOUT"
    with conn.cursor().copy(text) as copy:
        assert bytes(copy.read()) == b"1\n"
    assert log.seen() == [(["r"], "IIIII")]


@pytest.mark.parametrize("rows", [1, 3, 100_000])
def test_a_stream_left_in_the_middle_is_whole_or_not_at_all(
    log: TagLog, conn: psycopg.Connection[Any], rows: int
) -> None:
    stream = conn.cursor().stream(
        "INSERT INTO item SELECT i, repeat('x', 50) FROM generate_series(1, %s) i RETURNING *", (rows,)
    )
    next(stream)
    stream.close()
    assert conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    assert log.seen() in ([(["r"], "I" * rows)], [])
    conn.execute("SELECT 1")
    with pytest.raises(psycopg.errors.UniqueViolation):
        list(conn.cursor().stream("INSERT INTO item VALUES (0), (0) RETURNING id"))
    with pytest.raises(psycopg.ProgrammingError, match="didn't produce a result"):
        list(conn.cursor().stream("INSERT INTO item VALUES (-1)"))  # it did write, though
    assert log.seen() == [(["r"], "I")]


def test_an_error_in_a_script_is_told_as_if_nothing_stood_between(database: str) -> None:
    """Its place in the text, and after syntax errors every word of it."""
    texts = [
        "BEGIN;\nSELECT 1;\nCOMMIT;\nSELECT * FROM nowhere",
        "SELECT 1; COMMIT; SELEC 2",
        "BEGIN; SELECT 'a",
        "SELECT 1; COMMIT; SELECT (",
        "BEGIN; COMMIT; SELECT 1; SELECT 1/0",
    ]

    def attempt(library: Any, text: str) -> Any:
        with library.connect(database, autocommit=True) as conn, session.bind(request="r"):
            with pytest.raises(plain.Error) as caught:
                conn.execute(text)
            error = caught.value
            return type(error), str(error), error.diag.statement_position, conn.info.transaction_status

    assert [attempt(psycopg, text) for text in texts] == [attempt(plain, text) for text in texts]


def outcome(library: Any, url: str, act: Callable[[Any], Any], *, autocommit: bool) -> tuple[Any, ...]:
    """All that can be seen of one operation: by its caller, and in the tables after its commit."""
    with library.connect(url, autocommit=True) as conn, session.bind(request="r"):
        conn.execute("TRUNCATE item CASCADE")
        conn.autocommit = autocommit
        try:
            seen = act(conn)
        except Exception as error:  # noqa: BLE001 - whatever it raises is what is compared
            where = error.diag.statement_position if isinstance(error, plain.Error) else None
            seen = (type(error), str(error), getattr(error, "sqlstate", None), where)
        status = conn.info.transaction_status
        try:
            conn.close() if status == plain.pq.TransactionStatus.ACTIVE else conn.commit()
        except plain.Error as error:
            seen = (seen, type(error), str(error), conn.info.transaction_status)
    with plain.connect(url, autocommit=True) as conn:
        return seen, status, conn.execute("SELECT * FROM item ORDER BY id, name").fetchall()


def told(cursor: Any) -> tuple[Any, ...]:
    """What a cursor says after a statement."""
    columns = [(column.name, column.type_code) for column in cursor.description or []]
    rows = cursor.fetchall() if cursor.description else None
    return cursor.rowcount, cursor.statusmessage, columns, rows, cursor.nextset(), cursor.rownumber


OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "insert": lambda c: told(c.execute("INSERT INTO item VALUES (%s, %s)", (1, "a"))),
    "insert without parameters": lambda c: told(c.execute(INSERT)),
    "returning": lambda c: told(c.execute("INSERT INTO item VALUES (1, 'a'), (2, 'b') RETURNING id, name")),
    "returning in binary": lambda c: told(c.cursor(binary=True).execute("UPDATE item SET id = 9 RETURNING id")),
    "dict rows": lambda c: c.cursor(row_factory=dict_row).execute(f"{INSERT} RETURNING *").fetchall(),
    "prepared": lambda c: [told(c.execute("INSERT INTO item VALUES (%s)", (n,), prepare=True)) for n in range(3)],
    "prepared of itself": lambda c: [told(c.execute("INSERT INTO item VALUES (%s)", (n,))) for n in range(9)],
    "client cursor": lambda c: told(type_of(c).ClientCursor(c).execute("INSERT INTO item VALUES (%s, %s)", (1, ";"))),
    "raw cursor": lambda c: told(type_of(c).RawCursor(c).execute("INSERT INTO item VALUES ($1, $2)", (1, "a"))),
    "named parameters": lambda c: told(c.execute("INSERT INTO item VALUES (%(i)s, %(n)s)", {"i": 1, "n": "a"})),
    "script": lambda c: told(c.execute("INSERT INTO item VALUES (1, 'a'); SELECT 7; UPDATE item SET name = 'z'")),
    "script that fails": lambda c: told(c.execute("INSERT INTO item VALUES (1, 'a'); SELECT 1/0")),
    "script with control": lambda c: told(c.execute(f"BEGIN; {INSERT}; ROLLBACK; SELECT 3")),
    "unique": lambda c: [told(c.execute("INSERT INTO item VALUES (0, 'a')")) for _ in range(2)],
    "syntax": lambda c: c.execute("INSERT INTO item VALUES ("),
    "unterminated": lambda c: c.execute("INSERT INTO item VALUES (1, 'a"),
    "no table": lambda c: c.execute("INSERT INTO nowhere VALUES (%s)", (1,)),
    "wrong type": lambda c: c.execute("INSERT INTO item VALUES (%s)", ("x",)),
    "too few parameters": lambda c: c.execute("INSERT INTO item VALUES (%s, %s)", (1,)),
    "no adapter": lambda c: c.execute("INSERT INTO item VALUES (%s)", (object(),)),
    "not a query": lambda c: c.execute(5),
    "copy by execute": lambda c: c.execute("COPY item FROM STDIN"),
    "insert with copy": lambda c: c.cursor().copy(INSERT).__enter__(),
    "executemany": lambda c: many(c, [(1,), (2,)]),
    "executemany of nothing": lambda c: many(c, []),
    "executemany that fails": lambda c: many(c, [(1,), (1,)]),
    "vacuum in a block": lambda c: (c.execute("BEGIN"), c.execute("VACUUM item")),
    "begin twice": lambda c: [told(c.execute(text)) for text in ("BEGIN", "BEGIN", INSERT, "END")],
    "commit outside": lambda c: told(c.execute("COMMIT")),
    "commit of a failure": lambda c: failed_commit(c),
    "deferred": lambda c: told(c.execute("INSERT INTO part VALUES (99)")),
    "deferred, prepared": lambda c: told(c.execute("INSERT INTO part VALUES (%s)", (9,), prepare=True)),
    "trigger that raises": lambda c: c.execute("DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = 'P0042'; END $$"),
    "call": lambda c: told(c.execute("CALL add_items()")),
    "closed cursor": lambda c: closed(c.cursor()).execute(INSERT),
    "rows after a write": lambda c: c.execute(INSERT).fetchone(),
    "hold cursor": lambda c: hold(c),
}


def type_of(conn: Any) -> Any:
    return psycopg if isinstance(conn, psycopg.Connection) else plain


def many(conn: Any, rows: list[tuple[int, ...]]) -> tuple[Any, ...]:
    cursor = conn.cursor()
    cursor.executemany("INSERT INTO item VALUES (%s, 'm')", rows)
    return cursor.rowcount, cursor.statusmessage


def failed_commit(conn: Any) -> Any:
    conn.execute("BEGIN")
    with pytest.raises(plain.errors.DivisionByZero):
        conn.execute("SELECT 1/0")
    return told(conn.execute("COMMIT"))


def closed(cursor: Any) -> Any:
    cursor.close()
    return cursor


def hold(conn: Any) -> Any:
    with conn.cursor("held", withhold=True) as cursor:
        cursor.execute("SELECT generate_series(1, 3)")
        return cursor.fetchall()


@pytest.mark.parametrize("autocommit", [True, False], ids=["autocommit", "transaction"])
def test_a_caller_sees_the_same_as_in_plain_psycopg(database: str, autocommit: bool) -> None:
    """Results, messages, errors and what is left behind: the same, in every way of executing."""
    with plain.connect(database, autocommit=True) as conn:
        conn.execute(TABLES)
    theirs, ours = (
        {name: outcome(library, database, act, autocommit=autocommit) for name, act in OPERATIONS.items()}
        for library in (plain, psycopg)
    )
    assert ours == theirs
