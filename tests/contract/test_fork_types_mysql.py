"""PostgreSQL's types in forks in MySQL and MariaDB: every value that has a place there arrives, every other is a conflict by name."""

import re
import threading
from collections.abc import Sequence

import psycopg
import pytest

from commitlog.cdc.fork import state
from commitlog.cdc.fork.conflicts import listed
from commitlog.cdc.fork.equality import compare
from commitlog.cdc.fork.follow import Follower
from commitlog.cdc.fork.growth import create
from commitlog.cdc.fork.plan import make_plan
from commitlog.cdc.fork.targets import open_target
from commitlog.cdc.log.home import open_reader
from commitlog.schemas.errors import Refused
from fixtures.fork_log import Fork, MadeLog, column
from fixtures.type_cases import CASES, DDL, Case
from fixtures.worker import Source

pytestmark = pytest.mark.timeout(180)

WAIT_S = 100.0
LIMITED = (
    "float4",
    "float8",
    "numeric(10,2)",
    "date",
    "timestamp",
    "timestamp(2)",
    "timestamptz",
    "timestamptz(0)",
    "at",
)
NO_PLACE = re.compile(r"nan|inf|bc|^[0-9]{5,}-|^0001.*\+14$", re.IGNORECASE)
KEYS = (
    "text",
    "uuid",
    "bytea",
    "timestamptz",
    "numeric(10,2)",
    "bool",
    "mood",
    "float8",
    "float4",
    "character(5)",
    "time",
    "int8",
)


def has_place(case: Case, value: str) -> bool:
    return case.type not in LIMITED or not NO_PLACE.search(value)


def run_fork(source: Source, url: str) -> None:
    reader = open_reader(source.location)
    with open_target(url) as target:
        if not state.exists(target.memory):
            create(target, make_plan(reader, target))
    Follower(url, reader, stop=threading.Event()).run(once=True)


def insert(connection: psycopg.Connection[tuple[object, ...]], table: str, row: Sequence[str]) -> None:
    values = ", ".join(psycopg.sql.Literal(value).as_string() for value in row)
    connection.execute(f"INSERT INTO {table} VALUES ({values}) ON CONFLICT DO NOTHING".encode())


def test_every_value_with_a_place_arrives_by_snapshot_and_by_stream_and_every_other_is_a_conflict(
    source: Source, mysql_database: str, mariadb_database: str
) -> None:
    cases = list(CASES)
    keyed = [case for case in cases if case.type in KEYS]
    limited = [case for case in cases if case.type in LIMITED]
    source.execute(*DDL)
    source.execute(
        f"CREATE TABLE f (id int PRIMARY KEY, {', '.join(f'c{n} {case.type}' for n, case in enumerate(cases))})",
        *(f"CREATE TABLE keyed{n} (k {case.type} PRIMARY KEY, n int)" for n, case in enumerate(keyed)),
        *(f"CREATE TABLE odd{n} (id int PRIMARY KEY, v {case.type})" for n, case in enumerate(limited)),
    )
    source.map("Wide", "f")
    for n in range(len(keyed)):
        source.map(f"Keyed{n}", f"keyed{n}", key=("k",))
    for n in range(len(limited)):
        source.map(f"Odd{n}", f"odd{n}")
    source.setup()
    places = [[value for value in case.values if has_place(case, value)] for case in cases]

    def write(offset: int) -> None:
        options = "-c search_path=public -c array_nulls=on"
        with psycopg.connect(source.url, autocommit=True, options=options) as connection:
            for number in range(max(map(len, places))):
                insert(connection, "f", [str(offset + number), *(some[number % len(some)] for some in places)])
            for n, case in enumerate(keyed):
                fitting = [value for value in case.values if has_place(case, value)]
                for value in fitting[: len(fitting) // 2] if offset == 0 else fitting:
                    insert(connection, f"keyed{n}", [value, str(offset)])
            for n, case in enumerate(limited):
                for number, value in enumerate(case.values):
                    insert(connection, f"odd{n}", [str(offset + number), value])

    write(0)
    worker = source.run()
    worker.until_snapshots(WAIT_S)
    write(100)
    with source.connect() as connection:
        connection.execute(b"UPDATE f SET id = id + 1000 WHERE id % 3 = 0")
        connection.execute(b"UPDATE f SET c0 = c0 WHERE id % 3 = 1")
        connection.execute(b"DELETE FROM f WHERE id % 7 = 5")
        for n in range(len(keyed)):
            connection.execute(f"UPDATE keyed{n} SET n = n + 1".encode())
    worker.until_marked(timeout_s=WAIT_S)
    worker.terminate()

    for url in (mysql_database, mariadb_database):
        run_fork(source, url)

        compared = {table.entity: table for table in compare(source.url, url)}
        assert [
            table.to_json() for name, table in compared.items() if not table.equal and not name.startswith("Odd")
        ] == []
        with open_target(url) as target:
            conflicts = listed(target.memory)
        for n, case in enumerate(limited):
            expected = sorted(
                offset + number
                for offset in (0, 100)
                for number, value in enumerate(case.values)
                if not has_place(case, value)
            )
            found = [conflict for conflict in conflicts if conflict["entity"] == f"Odd{n}"]
            assert sorted(conflict["key"]["id"] for conflict in found) == expected, case.type
            assert {conflict["kind"] for conflict in found} <= {"value"}
            table = compared[f"Odd{n}"]
            assert (table.missing.count, table.extra.count, table.other.count) == (len(expected), 0, 0)
        assert {conflict["entity"][:3] for conflict in conflicts} == {"Odd"}


def test_the_plan_states_what_is_lost(made_log: MadeLog, either_database: str) -> None:
    made_log.shape(
        "Order",
        column("code", "text", "text", nullable=False),
        column("n", "decimal", "numeric"),
        column("price", "decimal", "numeric(10,2)"),
        column("at", "instant", "timestamp with time zone"),
        column("data", "jsonb"),
        column("tags", "exact", "text[]"),
        column("ratio", "float64", "double precision"),
        key=("code",),
    )

    with open_target(either_database) as target:
        lines = [line.strip() for line in make_plan(made_log.reader, target).lines()]

    assert "code varchar(768): at most 768 characters, as it is in the key" in lines
    assert "n longtext: becomes text, as its digits have no limit" in lines
    assert "price decimal(10,2): NaN has no place" in lines
    assert "at datetime(6): in UTC without its zone, years 0 to 9999 only" in lines
    assert "data longtext: becomes text, exactly as it was written" in lines
    assert "tags longtext: the source's text[] becomes text" in lines
    assert "ratio double: NaN, infinities and the sign of -0 have no place" in lines
    assert any(line.startswith("texts are utf8mb4, told apart and ordered by code points") for line in lines)
    assert "a row with a value that has no place becomes a conflict, and the fork goes on" in lines


@pytest.mark.parametrize(("one", "other"), [("a", "A"), ("a", "a "), ("e\u0301", "\u00e9"), ("ß", "ss"), ("", " ")])
def test_keys_are_told_apart_as_the_source_does(made_log: MadeLog, either_database: str, one: str, other: str) -> None:
    made_log.shape("Word", column("word", nullable=False), column("n", "int32"), key=("word",))
    made_log.snapshot("Word", {"word": one, "n": 1})
    made_log.commit(made_log.insert("Word", {"word": other, "n": 2}), made_log.update("Word", one, {"n": 1}, {"n": 3}))
    fork = Fork(made_log, either_database)

    fork.sync()

    assert sorted(fork.sql("SELECT word, n FROM word")) == sorted([(one, 3), (other, 2)])
    assert fork.conflicts() == []


def test_a_key_longer_than_an_index_takes_is_a_conflict(made_log: MadeLog, either_database: str) -> None:
    made_log.shape("Word", column("word", nullable=False), column("n", "int32"), key=("word",))
    made_log.snapshot("Word", {"word": "ß" * 768, "n": 1}, {"word": "ß" * 769, "n": 2}, {"word": "x", "n": 3})
    fork = Fork(made_log, either_database)

    fork.sync()

    assert [row[1] for row in fork.sql("SELECT word, n FROM word ORDER BY n")] == [1, 3]
    assert fork.conflict()["kind"] == "value"


def test_a_key_that_no_index_takes_is_refused_by_name(made_log: MadeLog, either_database: str) -> None:
    fields = [f"k{n}" for n in range(17)]
    made_log.shape("Many", *(column(field, nullable=False) for field in fields), key=fields)

    with pytest.raises(Refused, match="Many: its key of 17 columns is more than an index of InnoDB takes"):
        Fork(made_log, either_database).sync()
