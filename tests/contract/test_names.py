"""N1: tables and columns with names that need care work from `init` to a fork."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from commitlog.cdc.cli.main import main
from commitlog.cdc.log.location import Location
from fixtures.patience import WAIT_S
from fixtures.worker import History

LONG = "x" * 59 + "éé"
assert len(LONG.encode()) == 63
TABLES = ("order", "user", "quo\"te's", "two words", "line\nfeed", LONG, "naïve 日本", "Upper.Case", "tab\tand\\")
COLUMNS = (
    "order",
    "user",
    'a "b"',
    "it's",
    "line\nfeed",
    "c" * 63,
    "größe",
    "dotted.name",
    "select",
    "%s {0} $1",
    "-- ;",
)
NUMBER, KEY = COLUMNS[0], (COLUMNS[0], COLUMNS[2])
SCHEMAS = ("public", 'my "schema', "Ünder.score")


def environment() -> dict[str, str]:
    base = {name: value for name, value in os.environ.items() if not name.startswith("COMMITLOG_")}
    return {
        **base,
        "COMMITLOG_HTTP__LISTEN": "",
        "COMMITLOG_LIMITS__SNAPSHOT_ROWS": "3",
        "COMMITLOG_LIMITS__FLUSH_MS": "1",
    }


class Shell:
    """Runs commands as a user does, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self, *argv: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "commitlog.cdc.cli.main", *argv],
            cwd=self.folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *argv: str, code: int = 0) -> str:
        with self.start(*argv) as process:
            out, err = process.communicate(timeout=60)
        assert process.returncode == code, f"commitlog {argv} gave {process.returncode}: {out}{err}"
        return out


def documents(capsys: pytest.CaptureFixture[str], folder: Path, *argv: str) -> list[dict[str, Any]]:
    """What a reading command prints as JSON. In this process, for there are many and a start takes a second."""
    capsys.readouterr()
    with contextlib.chdir(folder):
        assert main([*argv, "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def names() -> list[tuple[str, str]]:
    """Every table, as (schema, name)."""
    return [(SCHEMAS[number % len(SCHEMAS)], table) for number, table in enumerate(TABLES)]


class Database:
    """The tables with these names in an empty database, keyed by two of their columns."""

    def __init__(self, url: str) -> None:
        self.url = url
        columns = sql.SQL(", ").join(
            sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL("int" if name == NUMBER else "text"))
            for name in COLUMNS
        )
        key = sql.SQL(", ").join(map(sql.Identifier, KEY))
        for schema in SCHEMAS[1:]:
            self.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
        for table in names():
            self.execute(sql.SQL("CREATE TABLE {} ({}, PRIMARY KEY ({}))").format(sql.Identifier(*table), columns, key))

    def execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement)

    def insert(self, number: int) -> None:
        """A row into every table."""
        values = sql.SQL(", ").join([sql.Literal(number), *(sql.Literal(f"{name} {number}") for name in COLUMNS[1:])])
        for table in names():
            self.execute(sql.SQL("INSERT INTO {} VALUES ({})").format(sql.Identifier(*table), values))

    def change(self, number: int, column: str, value: str) -> None:
        """One field of a row of every table."""
        text = sql.SQL("UPDATE {} SET {} = {} WHERE {} = {}")
        column_sql, number_sql = sql.Identifier(column), sql.Identifier(NUMBER)
        for table in names():
            self.execute(text.format(sql.Identifier(*table), column_sql, sql.Literal(value), number_sql, number))

    def remove(self, number: int) -> None:
        """A row of every table."""
        for table in names():
            self.execute(
                sql.SQL("DELETE FROM {} WHERE {} = {}").format(sql.Identifier(*table), sql.Identifier(NUMBER), number)
            )


def rows_of(url: str, table: tuple[str, str]) -> list[tuple[Any, ...]]:
    columns = sql.SQL(", ").join(map(sql.Identifier, COLUMNS))
    with psycopg.connect(url) as connection:
        return connection.execute(
            sql.SQL("SELECT {} FROM {} ORDER BY 1").format(columns, sql.Identifier(*table))
        ).fetchall()


def test_n1_names_that_need_care_work_from_init_to_a_fork(
    tmp_path: Path, database: str, new_database: Callable[[], str], unique: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shell, source, target = Shell(tmp_path), Database(database), new_database()
    for number in range(8):
        source.insert(number)

    shell("init", database, "--name", unique)
    shell("schema", "check", f"schemas/{unique}.yaml")
    shell("setup")
    # The test's server gives reason for warnings, the names give none.
    assert "error " not in shell("doctor", code=1)

    history = History(Location(tmp_path / "log", unique))
    with running(shell, history) as until:
        until(lambda: sum(items[1]["last"] for _, items in history.refresh().of_kind("snapshot")) == len(TABLES))
        source.insert(8)
        source.change(3, COLUMNS[-1], 'it\'s "new"')
        source.remove(5)
        until(lambda: len(history.refresh().commits) == 3 * len(TABLES))
    shell("verify")

    entities = {items[1]["entity"] for _, items in history.of_kind("snapshot")}
    assert len(entities) == len(TABLES)
    key = json.dumps({NUMBER: 3, KEY[1]: f"{KEY[1]} 3"})
    for entity in entities:
        (update,) = [d for d in documents(capsys, tmp_path, "log", f"{entity}/{key}") if d["kind"] == "commit"]
        assert [change["after"] for change in update["changes"]] == [{COLUMNS[-1]: 'it\'s "new"'}]
    blamed = documents(capsys, tmp_path, "blame", f"{entity}/{key}")
    assert {field["field"]: field["set_by"]["kind"] for field in blamed} == {
        **dict.fromkeys(COLUMNS, "snapshot"),
        COLUMNS[-1]: "commit",
    }

    fork = ("fork", f"file:{tmp_path}/log#{unique}", "--into", target, "--yes", "--once")
    shell(*fork)
    with running(shell, history) as until:
        source.insert(9)
        source.change(9, "order", "90")
        source.remove(8)
        until(lambda: len(history.refresh().commits) == 6 * len(TABLES))
    shell(*fork)
    for table in names():
        assert rows_of(target, table) == rows_of(database, table)
    (status,) = documents(capsys, tmp_path, "fork", "status", "--into", target, "--check", database)
    assert status["equal"] is True
    shell("teardown", "--yes")


@contextlib.contextmanager
def running(shell: Shell, history: History) -> Iterator[Callable[[Callable[[], bool]], None]]:
    """A worker, and a function that waits for a condition while it runs; it ends well."""
    worker = shell.start("run")

    def until(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + WAIT_S
        while not condition():
            assert worker.poll() is None, worker.communicate()
            assert time.monotonic() < deadline, f"the log ends at {history.refresh().records[-1:]}"
            time.sleep(0.02)

    try:
        yield until
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(10) == 0
    finally:
        worker.kill()
        worker.communicate()
