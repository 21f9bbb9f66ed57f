"""Whatever an app does in whatever order: its caller sees what plain psycopg shows, and each write has its own tag."""

import os
import struct
from collections.abc import Iterator
from typing import Any

import psycopg as plain
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from commitlog.drivers import psycopg
from fixtures.psycopg_play import Op, Player, connected
from fixtures.tagged import TagLog, tag_log

KEYS = st.integers(0, 5)
HOW = st.sampled_from([{}, {}, {"prepare": True}, {"prepare": False}, {"binary": True}])

TEXTS = [
    "SELECT 1",
    "SELECT * FROM item ORDER BY id",
    "INSERT INTO item VALUES (7, 'NUMBER')",
    "INSERT INTO item VALUES (8, 'NUMBER') ON CONFLICT DO NOTHING; SELECT 1; UPDATE item SET name = 'NUMBER' WHERE id = 1",
    "UPDATE item SET name = 'NUMBER' WHERE id < 3 RETURNING id",
    "WITH new AS (INSERT INTO item VALUES (9, 'NUMBER') RETURNING id) SELECT * FROM new",
    "SELECT put(6, 'NUMBER')",
    "SELECT 1/0",
    "SELECT 1; SELECT 1/0",
    "INSERT INTO item VALUES (NULL, 'NUMBER')",
    "INSERT INTO nowhere VALUES (1)",
    "INSERT INTO",
    "INSERT INTO part VALUES (99)",
    "SET CONSTRAINTS ALL IMMEDIATE",
    "",
    "SAVEPOINT a",
    "RELEASE a",
    "ROLLBACK TO a",
    "LISTEN c",
    "NOTIFY c, 'NUMBER'",
    "DISCARD ALL",
    "DEALLOCATE ALL",
    "CREATE TABLE extra (i int)",
    "DROP TABLE extra",
    "VACUUM item",
    "CALL put_two('NUMBER')",
    "DO $$ BEGIN INSERT INTO item VALUES (10, 'NUMBER'); END $$",
    "DO $$ BEGIN INSERT INTO item VALUES (11, 'NUMBER'); COMMIT; END $$",
    "DO $$ BEGIN RAISE NOTICE 'noticed'; END $$",
    "EXPLAIN (COSTS off) SELECT 1",
    "COPY item TO STDOUT",
]
CONTROL = [
    "BEGIN",
    "BEGIN ISOLATION LEVEL SERIALIZABLE",
    "START TRANSACTION READ ONLY",
    "COMMIT",
    "END",
    "COMMIT AND CHAIN",
    "ROLLBACK",
    "ABORT AND CHAIN",
    "PREPARE TRANSACTION 'mine'",
    "COMMIT PREPARED 'mine'",
    "ROLLBACK PREPARED 'mine'",
    "BEGIN; INSERT INTO item VALUES (12, 'NUMBER'); COMMIT",
    "INSERT INTO item VALUES (13, 'NUMBER'); COMMIT; SELECT 5; INSERT INTO item VALUES (14, 'NUMBER')",
    "BEGIN;\nINSERT INTO item VALUES (16, 'NUMBER');\nCOMMIT;\nSELECT * FROM nowhere",
    "UPDATE item SET name = 'NUMBER'; COMMIT AND CHAIN; INSERT INTO item VALUES (17, 'NUMBER')",
    "INSERT INTO item VALUES (18, 'NUMBER'); BEGIN; UPDATE item SET name = 'NUMBER' WHERE id < 9",
    "ROLLBACK TO a; INSERT INTO item VALUES (19, 'NUMBER'); END; BEGIN",
    "COMMIT; SELEC 1",
]

SIMPLE: st.SearchStrategy[Op] = st.one_of(
    st.tuples(st.just("execute"), st.sampled_from(TEXTS)),
    st.tuples(st.just("execute"), st.sampled_from(CONTROL)),
    st.tuples(st.just("insert"), KEYS, HOW),
    st.tuples(st.just("insert"), KEYS, HOW),
    st.tuples(st.just("update"), KEYS, HOW),
    st.tuples(st.just("cursor"), st.sampled_from(["Cursor", "ClientCursor", "RawCursor"]), KEYS),
    st.tuples(st.just("executemany"), st.lists(KEYS, max_size=3), st.booleans()),
    st.tuples(st.just("copy_in"), st.lists(KEYS, max_size=3), st.booleans(), st.sampled_from([False, False, True])),
    st.tuples(st.just("copy_out"), st.just("COPY item TO STDOUT"), st.sampled_from([1, 99])),
    st.tuples(
        st.just("copy_out"),
        st.just("COPY (INSERT INTO item VALUES (15, 'NUMBER') RETURNING id) TO STDOUT"),
        st.just(99),
    ),
    st.tuples(
        st.just("stream"),
        st.sampled_from(
            [
                "SELECT * FROM item ORDER BY id",
                "INSERT INTO item SELECT i, 'NUMBER' FROM generate_series(20, 24) i RETURNING id",
                "SELECT 1/(3-i) FROM generate_series(1, 5) i",
                "SELECT 1/(3-put(i + 20, 'NUMBER')+20) FROM generate_series(1, 5) i",
                "SET work_mem = '1MB'",
            ]
        ),
        st.just(99),
        st.sampled_from([{}, {"size": 2}, {"binary": True}]),
    ),
    st.tuples(st.just("server_cursor"), st.sampled_from([{}, {"withhold": True}, {"scrollable": True}]), st.booleans()),
    st.just(("notifies",)),
    st.just(("commit",)),
    st.just(("commit",)),
    st.just(("rollback",)),
    st.just(("sync",)),
    st.tuples(st.just("setting"), st.just("autocommit"), st.booleans()),
    st.tuples(st.just("setting"), st.just("read_only"), st.sampled_from([None, None, True, False])),
    st.tuples(
        st.just("setting"),
        st.just("isolation_level"),
        st.sampled_from([None, plain.IsolationLevel.SERIALIZABLE, plain.IsolationLevel.REPEATABLE_READ]),
    ),
    st.tuples(
        st.just("tpc"),
        st.just("begin"),
        st.just(("two",)),
    ),
    st.tuples(st.just("tpc"), st.sampled_from(["prepare", "commit", "rollback", "recover"]), st.just(())),
    st.tuples(st.just("tpc"), st.sampled_from(["commit", "rollback"]), st.just(("two",))),
    st.sampled_from([("fail",), ("leave",)]),
)


BLOCK = st.sampled_from([{}, {}, {"force_rollback": True}, {"savepoint_name": "sp"}])

PIPED_TEXTS = [
    "INSERT INTO item VALUES (1, 'NUMBER') ON CONFLICT (id) DO UPDATE SET name = 'NUMBER'",
    "UPDATE item SET name = 'NUMBER'",
    "SELECT put_again(2, 'NUMBER')",
    "SELECT * FROM item ORDER BY id",
    "DO $$ BEGIN UPDATE item SET name = 'NUMBER'; END $$",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
]
# In a pipeline it is a matter of time which call meets an error, so nothing fails there but the last one.
PIPED: st.SearchStrategy[Op] = st.one_of(
    st.tuples(st.just("execute"), st.sampled_from(PIPED_TEXTS)),
    st.tuples(st.just("execute"), st.sampled_from(PIPED_TEXTS[:3]), HOW),
    st.tuples(st.just("executemany"), st.lists(KEYS, max_size=3), st.booleans(), st.just(True)),
    st.sampled_from([("sync",), ("commit",), ("rollback",)]),
)
FAILING = st.sampled_from([[], [], [("execute", "SELECT 1/0")], [("fail",)]])


def piped_blocks(inner: st.SearchStrategy[Op]) -> st.SearchStrategy[Op]:
    ops = st.lists(inner, max_size=4)
    return st.one_of(st.tuples(st.just("transaction"), ops, BLOCK, st.booleans()), st.tuples(st.just("pipeline"), ops))


PIPELINE = st.tuples(
    st.just("pipeline"),
    st.builds(list.__add__, st.lists(st.recursive(PIPED, piped_blocks, max_leaves=4), max_size=5), FAILING),
)


def blocks(inner: st.SearchStrategy[Op]) -> st.SearchStrategy[Op]:
    return st.tuples(st.just("transaction"), st.lists(inner, max_size=4), BLOCK, st.booleans())


OPS = st.lists(st.recursive(st.one_of(SIMPLE, SIMPLE, SIMPLE, PIPELINE), blocks, max_leaves=6), max_size=8)

NO_STATEMENT = ("setting", "transaction", "pipeline", "sync", "commit", "rollback", "tpc", "fail", "leave", "notifies")

FUNCTIONS = """
CREATE FUNCTION put(i int, n text) RETURNS int LANGUAGE sql AS $$ INSERT INTO item VALUES (i, n) RETURNING id $$;
CREATE FUNCTION put_again(i int, n text) RETURNS int LANGUAGE sql
AS $$ INSERT INTO item VALUES (i, n) ON CONFLICT (id) DO UPDATE SET name = n RETURNING id $$;
CREATE PROCEDURE put_two(n text) LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO item VALUES (901, n); COMMIT;
    INSERT INTO item VALUES (902, n);
END $$;
"""
RESET = """
ROLLBACK; TRUNCATE item CASCADE; DROP TABLE IF EXISTS extra;
"""


class RowLog(TagLog):
    """Of each transaction that changed rows: its tags, and the numbers in the rows that it inserted or updated."""

    def transactions(self) -> list[tuple[list[str], list[int]]]:
        with plain.connect(self.url, autocommit=True) as conn:
            rows = conn.execute(
                "SELECT data FROM pg_logical_slot_get_binary_changes(%s, NULL, NULL, 'proto_version', '1',"
                " 'publication_names', %s, 'messages', 'true')",
                (self.name, self.name),
            ).fetchall()
        seen: list[tuple[list[str], list[int]]] = []
        for (data,) in rows:
            kind = chr(data[0])
            if kind == "B":
                seen.append(([], []))
            elif kind == "M":
                seen[-1][0].append(data.partition(b'"request":"')[2].partition(b'"')[0].decode())
            elif kind in "IU":
                at = data.index(b"N", 5)
                assert data[at + 1 : at + 3] in (b"\0\2", b"\0\1"), "a row of item or part"
                if data[at + 1 : at + 3] == b"\0\2":
                    (length,) = struct.unpack_from(">i", data, at + 4)
                    (size,) = struct.unpack_from(">i", data, at + 9 + length)
                    seen[-1][1].append(int(data[at + 13 + length : at + 13 + length + size]))
        return [(tags, numbers) for tags, numbers in seen if numbers]


@pytest.fixture(scope="module")
def log(postgres_server: Any) -> Iterator[RowLog]:
    name = f"random_{os.getpid()}"
    url = postgres_server.create_database(name)
    try:
        with tag_log(url, name):
            with plain.connect(url, autocommit=True) as conn:
                conn.execute(FUNCTIONS)
            yield RowLog(url, name)
    finally:
        postgres_server.drop_database(name)


def played(library: Any, url: str, ops: list[Op], *, asynchronous: bool, autocommit: bool) -> tuple[Player, Any]:
    with plain.connect(url, autocommit=True) as clean:
        for (gid,) in clean.execute("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"):
            clean.execute(plain.sql.SQL("ROLLBACK PREPARED {}").format(gid))
        for text in RESET.split(";"):
            clean.execute(text)
    # A transaction that was prepared keeps its locks, and what comes after it may need them.
    options = {"autocommit": autocommit, "options": "-c lock_timeout=500"}
    with connected(library, url, asynchronous=asynchronous, **options) as conn:
        player = Player(library, conn, asynchronous=asynchronous)
        try:
            player.play(ops)
        except (KeyError, plain.Rollback) as error:
            player.notes.append(("left", type(error)))
        player.notes.append((conn.info.transaction_status, conn.closed, conn.broken))
    with plain.connect(url, autocommit=True) as conn:
        rows = conn.execute("SELECT * FROM item ORDER BY id").fetchall()
    return player, rows


def owners(player: Player, number: int) -> set[int]:
    """The operations that may have begun the transaction in which one of them wrote: one, where that is for certain."""
    first = number
    while first > 1 and player.begun[first][1] != "IDLE":
        first -= 1
    within = range(first, number + 1)
    if any(may_end(op) or piped for op, _, piped in (player.begun[n] for n in within)):
        return set(within)  # the operation itself began several, or only the server knows
    return {next(n for n in within if is_statement(*player.begun[n][:2]))}


def may_end(op: Op) -> bool:
    return (op[0] == "server_cursor" and op[2]) or (
        op[0] == "execute" and op[1] in CONTROL and (";" in op[1] or "CHAIN" in op[1])
    )


def is_statement(op: Op, status: str) -> bool:
    if op[0] == "execute" and op[1] in CONTROL and "item" not in op[1]:
        return status == "INTRANS" and op[1].startswith(("BEGIN", "START"))  # the server only warns of it
    return op[0] not in NO_STATEMENT or op[:2] == ("tpc", "recover")


def commits_by_itself(op: Op) -> bool:
    """Whether the server itself commits in the middle of an operation: no client can put a tag there."""
    return op[0] == "execute" and (op[1].startswith("CALL put_two") or (op[1].startswith("DO") and "COMMIT" in op[1]))


ATTEMPTS = 12


def compare(log: RowLog, ops: list[Op], *, asynchronous: bool, autocommit: bool) -> None:
    """In a pipeline it depends on when answers come which statement an error is raised at, and so what follows from it: what is seen
    with ours at one time must be what is seen with plain psycopg at one time.
    """
    ours, theirs = list[tuple[Any, Any]](), list[tuple[Any, Any]]()
    while len(ours) < ATTEMPTS and not any(own == other for own in ours for other in theirs):
        player, rows = played(plain, log.url, ops, asynchronous=asynchronous, autocommit=autocommit)
        theirs.append((player.notes, rows))
        log.transactions()
        player, rows = played(psycopg, log.url, ops, asynchronous=asynchronous, autocommit=autocommit)
        ours.append((player.notes, rows))
        check_tags(player, log.transactions())
    if not any(own == other for own in ours for other in theirs):
        for own, other in zip(ours[-1][0], theirs[-1][0], strict=False):
            assert own == other
        assert ours[-1] == theirs[-1]


def check_tags(ours: Player, tagged: list[tuple[list[str], list[int]]]) -> None:
    """Each transaction bears the tag of the session it began in."""
    for tags, numbers in tagged:
        if not tags and commits_by_itself(ours.begun[numbers[0]][0]):
            continue
        assert len(tags) == 1, (tags, numbers, [ours.begun[n] for n in numbers])
        assert int(tags[0]) in owners(ours, numbers[0]), (tags, numbers, ours.begun)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # a server-side cursor that cannot be closed, in psycopg too
@settings(
    max_examples=1500 if os.environ.get("COMMITLOG_TEST_FULL") == "1" else 40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],  # a busy machine is no finding
)
@given(ops=OPS, asynchronous=st.booleans(), autocommit=st.booleans())
def test_any_sequence_of_operations_is_seen_as_in_plain_psycopg_and_tagged(
    log: RowLog, ops: list[Op], asynchronous: bool, autocommit: bool
) -> None:
    compare(log, ops, asynchronous=asynchronous, autocommit=autocommit)
