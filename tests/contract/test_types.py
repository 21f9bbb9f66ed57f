"""T1 to T30: every type goes from source to log to fork and back unchanged, by snapshot and by stream, in each kind of change.

One source, one log, one fork of it and one log made from that fork serve all types. Table `f` has a column of each type, and its whole
old rows are logged; `d` has those whose values may be stored out of line, and the default replica identity; the tables `k0`, `k1`, …
are keyed by four types each.
"""

import base64
import contextlib
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from commitlog.cdc.cli.main import main
from commitlog.cdc.fork.conflicts import listed
from commitlog.cdc.fork.equality import compare
from commitlog.cdc.fork.postgres.target import Target
from commitlog.cdc.log.row_key import format_key
from commitlog.cdc.servers.local import PostgresServer
from commitlog.cdc.servers.postgres import Server
from fixtures.followed import Followed
from fixtures.postgres import POSTGRES_VERSIONS, QUICK
from fixtures.type_cases import CASES, DDL, Case
from fixtures.worker import Source

pytestmark = pytest.mark.timeout(240)

WAIT_S = 100.0
KEYED = 4
"""Types in the key of one table."""

SESSION = (
    "-c DateStyle=ISO -c TimeZone=UTC -c IntervalStyle=iso_8601 -c extra_float_digits=3 -c bytea_output=hex"
    " -c search_path=pg_catalog -c lc_monetary=C -c quote_all_identifiers=off -c client_encoding=UTF8"
)
"""In such a session the server writes what records hold (schemas/README.md §3)."""

ODD = {
    "DateStyle": "'SQL, DMY'", "TimeZone": "'Asia/Kolkata'", "IntervalStyle": "postgres_verbose", "extra_float_digits": "-10",
    "bytea_output": "escape", "quote_all_identifiers": "on", "array_nulls": "off", "xmloption": "document",
}  # fmt: skip
"""How both databases are set up: it must make no difference."""

Rows = dict[tuple[object, ...], dict[str, object]]


@dataclass
class Side:
    """A database and the log made from it.

    Attributes:
        rows: Entity to rows as the server's output functions write them, by key.
        types: Entity to column to (type, what a domain is at bottom).
        binary: (entity, column) to the values in the server's binary form, in the order of their rows; of built-in types.
        items: Entity to the rows of snapshots and the changes of commits, in order.
    """

    rows: dict[str, Rows] = field(default_factory=dict[str, Rows])
    types: dict[str, dict[str, tuple[str, str]]] = field(default_factory=dict[str, dict[str, tuple[str, str]]])
    binary: dict[tuple[str, str], bytes] = field(default_factory=dict[tuple[str, str], bytes])
    items: dict[str, list[dict[str, Any]]] = field(default_factory=dict[str, list[dict[str, Any]]])


@dataclass
class World:
    """What is left when everything has gone all the way."""

    cases: list[Case]
    source: Side
    fork: Side
    conflicts: list[dict[str, Any]]
    equal: dict[str, bool]
    folder: Path
    """Where the source's configuration and log are."""

    def tables(self, case: Case) -> list[str]:
        """The tables with a column of this type."""
        return [name for name, columns in tables(self.cases).items() if case in columns]


@pytest.fixture(scope="module", params=POSTGRES_VERSIONS)
def world(
    request: pytest.FixtureRequest, postgres_server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    with ExitStack() as stack:
        server = postgres_server
        if request.param != "18":
            server = stack.enter_context(PostgresServer.start(settings=QUICK, version=request.param))
        name = f"t_{id(stack):x}"
        urls = [server.create_database(f"{name}_{which}") for which in ("source", "fork")]
        for which in ("source", "fork"):
            stack.callback(server.drop_database, f"{name}_{which}")
        yield make(urls, tmp_path_factory.mktemp("types"), name, stack)


def column(case: Case) -> str:
    return f"c{CASES.index(case)}"


def tables(cases: list[Case]) -> dict[str, list[Case]]:
    """Table to the types of its columns."""
    keyed = [case for case in cases if case.key]
    groups = [keyed[at : at + KEYED] for at in range(0, len(keyed), KEYED)]
    return {
        "f": cases,
        "d": [case for case in cases if case.toast],
        **{f"k{number}": group for number, group in enumerate(groups)},
    }


def make(urls: list[str], folder: Path, name: str, stack: ExitStack) -> World:
    source = Source(urls[0], folder / "source", f"{name}_s")
    stack.callback(source.close)
    version = int(source.value("SHOW server_version_num")) // 10000
    cases = [case for case in CASES if case.since <= version]
    source.execute(*DDL)
    for url in urls:
        database = url.rpartition("/")[2]
        source.execute(*(f"ALTER DATABASE {database} SET {name} = {value}" for name, value in ODD.items()))
    with connected(source) as connection:
        for table, columns in tables(cases).items():
            create_table(connection, table, columns)
            App(connection, table, columns).insert(range(0, App.ROWS, 2))
    map_all(source, cases)
    source.commitlog("setup")
    source.execute("ALTER TABLE d REPLICA IDENTITY DEFAULT", "ALTER TABLE k1 REPLICA IDENTITY DEFAULT")
    worker = source.run(limits__snapshot_rows=3)
    worker.until_snapshots(WAIT_S)
    work(source, cases, 0)
    worker.until_marked(timeout_s=WAIT_S)
    sync(source, urls[1])

    back = Source(urls[1], folder / "back", f"{name}_b")
    stack.callback(back.close)
    map_all(back, cases)
    back.commitlog("setup")
    returned = back.run(limits__snapshot_rows=3)
    returned.until_snapshots(WAIT_S)
    work(source, cases, 2000)
    worker.until_marked(timeout_s=WAIT_S)
    sync(source, urls[1])
    returned.until_marked(timeout_s=WAIT_S)
    for run in (worker, returned):
        run.terminate()
    source.verify()
    back.verify()
    with Target(urls[1]) as target:
        conflicts = listed(target.memory, closed=True)
    compared = {comparison.entity: comparison.equal for comparison in compare(*urls)}
    return World(cases, side(source, cases), side(back, cases), conflicts, compared, source.folder)


def connected(source: Source) -> psycopg.Connection[Any]:
    """An app's connection, which reads the values of the tests as they stand."""
    return psycopg.connect(
        source.url, autocommit=True, options=SESSION.replace("pg_catalog", "public") + " -c array_nulls=on"
    )


def create_table(connection: psycopg.Connection[Any], table: str, columns: list[Case]) -> None:
    defined = ", ".join(f"{column(case)} {case.type}" for case in columns)
    key = "id" if table in "fd" else ", ".join(map(column, columns))
    id_ = "id int, " if table in "fd" else ""
    connection.execute(f"CREATE TABLE {table} ({id_}n int, {defined}, PRIMARY KEY ({key}))".encode())
    for case in columns if table in "fd" else ():
        if case.toast:
            connection.execute(f"ALTER TABLE {table} ALTER {column(case)} SET STORAGE EXTERNAL".encode())


class App:
    """What an app does with one table. Row `number` has of each type the value of that number, counted round."""

    ROWS = max(len(case.values) for case in CASES)

    def __init__(self, connection: psycopg.Connection[Any], table: str, cases: list[Case]) -> None:
        self._connection, self._table, self._cases = connection, table, cases
        self._names = [column(case) for case in cases]

    def insert(self, numbers: Sequence[int], offset: int = 0) -> None:
        """Rows of these numbers, in a table keyed by its types those that are not there."""
        for number in numbers:
            first = [str(offset + number)] if self._table in "fd" else []
            values = ", ".join([*first, str(number), *self._values(number)])
            self._run(f"INSERT INTO {self._table} VALUES ({values}) ON CONFLICT DO NOTHING")

    def work(self, offset: int) -> None:
        """Changes of each kind."""
        self.insert(range(0 if offset else 1, self.ROWS, 1 if offset else 2), offset)
        self._run(f"UPDATE {self._table} SET n = n + 10000")
        if self._table not in "fd":
            self._rekey()
            return
        self._run(f"INSERT INTO {self._table} VALUES ({offset + 900}, 1), ({offset + 901}, 1)")
        self.insert([902, 903], offset)
        self._set(self._values(1), f"id IN ({offset + 901}, {offset})")
        self._set(["NULL"] * len(self._names), f"id = {offset + 902}")
        self._set([*self._values(2), "id + 10"], f"id = {offset + 902}", "id")
        self._run(f"UPDATE {self._table} SET id = id + 20 WHERE id IN ({offset}, {offset + 901})")
        self._run(f"DELETE FROM {self._table} WHERE id = {offset + 903}")
        large = {column(case): case.toast for case in self._cases if case.toast}
        self._run(
            f"INSERT INTO {self._table} (id, n, {', '.join(large)}) VALUES ({offset + 950}, 1, {', '.join(large.values())})"
        )
        self._run(f"UPDATE {self._table} SET n = n + 1 WHERE id = {offset + 950}")
        self._run(f"UPDATE {self._table} SET id = id + 1 WHERE id = {offset + 950}")

    def _rekey(self) -> None:
        """Where there are two keys, one row gets the other's, and an update changes nothing."""
        first, second = self._values(0), self._values(1)
        self._run(f"DELETE FROM {self._table} WHERE {self._are(first)}")
        self._set(first, self._are(second))
        self.insert([0, 1])
        self._run(f"UPDATE {self._table} SET n = n")

    def _are(self, values: list[str]) -> str:
        """By their texts: what is equal by the type's own operator may be another value, and some have none."""
        return " AND ".join(f"concat({n}) = concat({v})" for n, v in zip(self._names, values, strict=True))

    def _set(self, values: list[str], where: str, *more: str) -> None:
        fields = ", ".join(f"{n} = {v}" for n, v in zip([*self._names, *more], values, strict=True))
        self._run(f"UPDATE {self._table} SET {fields} WHERE {where}")

    def _values(self, number: int) -> list[str]:
        quoted = ("'" + case.values[number % len(case.values)].replace("'", "''") + "'" for case in self._cases)
        return [f"{value}::{case.type}" for value, case in zip(quoted, self._cases, strict=True)]

    def _run(self, statement: str) -> None:
        self._connection.execute(statement.encode())


def work(source: Source, cases: list[Case], offset: int) -> None:
    with connected(source) as connection:
        for table, columns in tables(cases).items():
            with connection.transaction():
                App(connection, table, columns).work(offset)


def key_of(table: str, columns: list[Case]) -> tuple[str, ...]:
    return ("id",) if table in "fd" else tuple(map(column, columns))


def map_all(source: Source, cases: list[Case]) -> None:
    for table, columns in tables(cases).items():
        source.map(table, table, key=key_of(table, columns))


def sync(source: Source, url: str) -> None:
    Followed(source, url).sync(only=sorted(source.entities.keys() - {"Mark"}))


def side(source: Source, cases: list[Case]) -> Side:
    """Read everything that tests look at, once."""
    out = Side()
    history = source.history()
    for items in [record[2:] for _, record in history.of_kind("snapshot")] + [c.changes for c in history.commits]:
        for item in items:
            out.items.setdefault(item["entity"], []).append(item)
    with psycopg.connect(source.url, autocommit=True, options=SESSION) as connection:
        for table, columns in tables(cases).items():
            key, names = key_of(table, columns), source.entities[table].fields
            texts = [f"CASE WHEN num_nulls({name}) = 0 THEN concat({name}) END" for name in names]
            order = ", ".join(f'concat({name}) COLLATE "C"' for name in key)
            found = connection.execute(
                f"SELECT {', '.join(texts)} FROM public.{table} ORDER BY {order}".encode()
            ).fetchall()
            rows = [dict(zip(names, row, strict=True)) for row in found]
            out.rows[table] = {tuple(row[name] for name in key): row for row in rows}
            out.types[table] = {name: column_type(connection, table, name) for name in names}
            for case in columns:
                query = f"COPY (SELECT {column(case)} FROM public.{table} ORDER BY {order}) TO STDOUT (FORMAT binary)"
                if (
                    case.type != "aclitem" and "." not in out.types[table][column(case)][0]
                ):  # which have no binary form, or none here
                    with connection.cursor().copy(query.encode()) as copy:
                        out.binary[table, column(case)] = b"".join(map(bytes, copy))
    return out


def column_type(connection: psycopg.Connection[Any], table: str, name: str) -> tuple[str, str]:
    row = connection.execute(
        b"WITH RECURSIVE t AS (SELECT atttypid AS oid, 0 AS depth, format_type(atttypid, atttypmod) AS shown FROM pg_attribute"
        b" WHERE attrelid = %s::regclass AND attname = %s UNION ALL SELECT typbasetype, depth + 1, shown FROM pg_type"
        b" JOIN t USING (oid) WHERE typtype = 'd') SELECT shown, oid::regtype::text FROM t ORDER BY depth DESC LIMIT 1",
        (f"public.{table}", name),
    ).fetchone()
    assert row is not None
    return str(row[0]), str(row[1])


def recorded(base: str, text: Any) -> object:
    """What a record holds of a text of a type, by schemas/README.md §3."""
    match base:
        case _ if text is None:
            return None
        case "boolean":
            return text == "t"
        case "smallint" | "integer":
            return int(text)
        case "bytea":
            return base64.b64encode(bytes.fromhex(text.removeprefix("\\x"))).decode()
        case "timestamp without time zone" | "timestamp with time zone" if "BC" not in text and text[4:5] == "-":
            return text.replace(" ", "T").replace("+00", "Z")
        case _:
            return text


def folded(items: list[dict[str, Any]], name: str) -> dict[tuple[Any, ...], Any]:
    """The values of a column that a log tells of, each change held to what was there before it."""
    rows: dict[tuple[Any, ...], Any] = {}
    for item in items:
        key = tuple(item["key"].values())
        after, unsent = item.get("after", {}), item.get("unsent", ())
        if item["op"] in ("insert", "row"):
            assert key not in rows
            rows[key] = after[name]
            continue
        was = rows.pop(key)
        assert item.get("before", {}).get(name, was) == was
        if item["op"] == "delete":
            assert (name in item["before"]) != (name in unsent)
        else:
            assert item["image"] == "full" or (name in after) != (name in unsent)
            rows[tuple(item.get("newkey", item["key"]).values())] = after.get(name, was)
    return rows


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_type_goes_from_source_to_log_to_fork_and_back(world: World, case: Case) -> None:
    if case not in world.cases:
        pytest.skip(f"PostgreSQL has it from {case.since} on")
    name = column(case)
    for table in world.tables(case):
        types, theirs = world.source.types[table], world.source.rows[table]
        bases = [types[field][1] for field in key_of(table, tables(world.cases)[table])]
        rows = folded(world.source.items[table], name)
        assert rows == {
            tuple(map(recorded, bases, key)): recorded(types[name][1], row[name]) for key, row in theirs.items()
        }
        assert {key: row[name] for key, row in world.fork.rows[table].items()} == {
            key: row[name] for key, row in theirs.items()
        }
        assert folded(world.fork.items[table], name) == rows
        if world.fork.types[table][name] == types[name]:
            assert world.fork.binary.get((table, name)) == world.source.binary.get((table, name))

    told = {
        item["after"]["id"]: item["after"][name] for item in world.source.items["f"] if item["op"] in ("row", "insert")
    }
    for text, value in case.record.items():
        assert told[case.values.index(text)] == value
        assert type(told[case.values.index(text)]) is type(value)


def test_the_fork_is_equal_and_without_conflicts(world: World) -> None:
    assert world.conflicts == []
    assert world.equal == dict.fromkeys(tables(world.cases), True)


def test_every_kind_of_change_is_among_them(world: World) -> None:
    for table, columns in tables(world.cases).items():
        ops = {item["op"] for item in world.source.items[table]}
        one_key = table not in "fd" and all(len(case.values) == 1 for case in columns)
        assert ops == {"row", "insert", "update", "delete"} | (set() if one_key else {"rekey"})
        assert ops == {item["op"] for item in world.fork.items[table]}
    large = [column(case) for case in world.cases if case.toast]
    unsent = [
        item["unsent"] for item in world.source.items["d"] if item["op"] in ("update", "rekey") and "unsent" in item
    ]
    assert unsent == [large] * 5


def test_T32_commands_take_the_keys_that_they_print(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Keys of every type, with quotes, commas, line feeds and control characters in them."""

    def run(*argv: str) -> str:
        capsys.readouterr()
        assert main([*argv]) == 0
        return capsys.readouterr().out

    with contextlib.chdir(world.folder):
        diff = [json.loads(line) for line in run("diff", "0..HEAD", "--json").splitlines()]
        for table, columns in tables(world.cases).items():
            if table in "fd":
                continue
            key, n = next(reversed(folded(world.source.items[table], "n").items()))
            named = dict(zip(map(column, columns), key, strict=True))
            assert named in [row["newkey"] or row["key"] for row in diff if row["entity"] == table]
            printed = f"{table}/{format_key(named)}"
            blamed = [json.loads(line) for line in run("blame", printed, "--json").splitlines()]
            assert {field["field"]: field["value"] for field in blamed} == {**named, "n": n}
            assert all(map(str.isprintable, run("log", printed).splitlines()))
