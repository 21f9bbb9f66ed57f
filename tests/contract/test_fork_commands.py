"""`commitlog fork` and `commitlog conflicts` as people and scripts run them, and the proof that a fork is equal."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable

import psycopg
import pytest

from commitlog.cdc.cli.main import main
from commitlog.cdc.fork.comparison import SHOWN_KEYS
from commitlog.cdc.fork.equality import compare
from fixtures.fork_log import Fork, MadeLog, column
from fixtures.patience import WAIT_S, until
from fixtures.worker import Source

ID = column("id", "int32", nullable=False)
KEN = {"assurance": 1, "user": "ken", "request": "r-1", "build": "3.2.0"}


@pytest.fixture
def log(made_log: MadeLog) -> MadeLog:
    made_log.shape("Order", ID, column("status"))
    made_log.snapshot("Order", {"id": 1, "status": "new"}, {"id": 2, "status": "new"})
    return made_log


@pytest.fixture
def fork(log: MadeLog, some_database: str) -> Fork:
    return Fork(log, some_database)


@pytest.fixture
def disagreeing(log: MadeLog, fork: Fork) -> Fork:
    """A fork with a conflict."""
    fork.sync()
    fork.sql("UPDATE public.\"order\" SET status = 'mine' WHERE id = 1")
    log.commit(log.update("Order", 1, {"status": "new"}, {"status": "paid"}), by=KEN)
    fork.sync()
    return fork


def run(*arguments: str, answer: str | None = None) -> subprocess.CompletedProcess[str]:
    """A command as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "commitlog.cdc.cli.main", *arguments],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
        stdin=subprocess.DEVNULL if answer is None else None,
    )


def test_one_command_makes_the_fork_and_again_goes_on(log: MadeLog, fork: Fork) -> None:
    asked = run("fork", log.url, "--into", fork.url)
    assert (asked.returncode, asked.stderr) == (2, "error: nobody is there to be asked\ntry: --yes\n")
    assert fork.tables() == []

    made = run("fork", log.url, "--into", fork.url, "--yes", "--once")

    assert made.returncode == 0, made.stderr
    assert f"make table {fork.called('order')} for Order, key id" in made.stdout
    assert made.stdout.endswith(f"ended at record {log.head.seq}, conflicts open: 0\n")
    log.commit(log.insert("Order", {"id": 3, "status": "new"}))
    again = run("fork", "--into", fork.url, log.url, "--once")
    assert (again.returncode, again.stderr) == (0, "")
    assert "going on with the fork" in again.stdout
    assert fork.sql('SELECT count(*) FROM public."order"') == [(3,)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_fork_that_follows_applies_what_comes_and_ends_cleanly_on_a_signal(
    log: MadeLog, fork: Fork, number: signal.Signals
) -> None:
    fork.sync()
    process = subprocess.Popen(
        [sys.executable, "-m", "commitlog.cdc.cli.main", "fork", log.url, "--into", fork.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    while "following" not in process.stdout.readline():
        assert process.poll() is None
    log.commit(log.insert("Order", {"id": 3, "status": "new"}))
    until(lambda: fork.position == log.head.seq, "the record")

    process.send_signal(number)

    output, errors = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, errors
    assert output.endswith(f"ended at record {log.head.seq}, conflicts open: 0\n")


def test_plan_writes_nothing(log: MadeLog, fork: Fork, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fork", "plan", log.url, "--into", fork.url]) == 0

    types = ("int", "longtext") if fork.in_mysql else ("integer", "text")
    made = "make table {} for Order, key id\n    id {}\n    status {}\n".format(fork.called("order"), *types)
    assert made in capsys.readouterr().out
    assert fork.tables() == []


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (["fork", "file:/nowhere#made", "--into", "{url}"], 2, "there is no log"),
        (["fork", "nolog", "--into", "{url}"], 2, "is not a log"),
        (["fork", "{log}", "--into", "redis://h/d"], 2, "is not a database a fork can live in"),
        (["fork", "{log}", "--into", "postgresql://postgres@127.0.0.1:9/x"], 5, "cannot be reached"),
        (["fork", "{log}", "--into", "{url}", "--only", "Nobody"], 2, "knows no entity Nobody"),
        (["fork", "status", "--into", "{url}"], 2, "there is no fork"),
        (["fork", "drop", "--into", "{url}", "--yes"], 2, "there is no fork"),
        (["conflicts", "list", "--into", "{url}"], 2, "there is no fork"),
        (["fork"], 0, ""),
    ],
)
def test_what_cannot_be_is_told_with_an_exit_code(
    log: MadeLog, fork: Fork, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, error: str
) -> None:
    filled = [argument.format(url=fork.url, log=log.url) for argument in arguments]

    assert main(filled) == code

    assert error in capsys.readouterr().err


def test_status_says_where_the_fork_stands(log: MadeLog, fork: Fork, capsys: pytest.CaptureFixture[str]) -> None:
    fork.sync()
    at = log.head
    log.commit(log.insert("Order", {"id": 3, "status": "new"}))

    assert main(["fork", "status", "--into", fork.url, "--json"]) == 0

    document = json.loads(capsys.readouterr().out)
    assert document.pop("lag_s") >= 0
    assert document.pop("at")
    assert document.pop("log") == log.reader.record(0).header["log"]
    assert document == {
        "name": "made",
        "url": log.url,
        "only": [],
        "epoch": 1,
        "seq": at.seq,
        "hash": at.hash,
        "part": None,
        "head_seq": at.seq + 1,
        "behind": 1,
        "conflicts": 0,
        "tables": [{"entity": "Order", "table": fork.called("order"), "snapshot": "complete"}],
    }
    assert main(["fork", "status", "--into", fork.url]) == 0
    assert f"at record {at.seq}, epoch 1, 1 behind" in capsys.readouterr().out


def test_drop_takes_the_fork_away(log: MadeLog, fork: Fork, capsys: pytest.CaptureFixture[str]) -> None:
    fork.sync()

    assert main(["fork", "drop", "--into", fork.url, "--yes"]) == 0

    assert capsys.readouterr().out.endswith(f"  {fork.called('order')}\ndropped\n")
    assert fork.tables() == []


def test_conflicts_are_listed_and_shown_with_both_sides(disagreeing: Fork, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conflicts", "list", "--into", disagreeing.url]) == 1
    listed = capsys.readouterr().out.splitlines()
    assert len(listed) == 2
    assert listed[1].split()[1:5] == ["open", "update/update", "Order/1", "status"]
    assert listed[1].endswith("ken, request r-1, build 3.2.0")
    id_ = listed[1].split()[0]

    assert main(["conflicts", "show", id_[:6], "--into", disagreeing.url]) == 0

    shown = capsys.readouterr().out
    for part in ("Order/1.status was changed here", 'base    "new"', 'ours    "mine"', 'theirs  "paid"', "by ken"):
        assert part in shown
    assert main(["conflicts", "show", "nope", "--into", disagreeing.url]) == 2
    assert main(["conflicts", "list", "--into", disagreeing.url, "--entity", "Other"]) == 0
    capsys.readouterr()
    assert main(["conflicts", "list", "--into", disagreeing.url, "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["key"], document["ours"], document["theirs_by"]) == ({"id": 1}, "mine", KEN)


def test_a_fork_with_open_conflicts_ends_with_exit_code_1(log: MadeLog, disagreeing: Fork) -> None:
    done = run("fork", log.url, "--into", disagreeing.url, "--once")

    assert (done.returncode, done.stderr) == (1, "")
    assert main(["fork", "status", "--into", disagreeing.url]) == 1


def test_compare_names_the_rows_that_differ(
    log: MadeLog, fork: Fork, new_database: Callable[[], str], capsys: pytest.CaptureFixture[str]
) -> None:
    source = new_database()
    with psycopg.connect(source, autocommit=True) as connection:
        connection.execute('CREATE TABLE public."order" (hidden int, id int PRIMARY KEY, status text)')
        connection.execute("INSERT INTO public.\"order\" (id, status) VALUES (1, 'new'), (2, 'new')")
        fork.sync()
        (equal,) = compare(source, fork.url)
        assert equal.equal
        assert equal.rows == 2
        assert main(["fork", "status", "--into", fork.url, "--check", source]) == 0
        assert "public.order: equal, 2 rows" in capsys.readouterr().out

        connection.execute('UPDATE public."order" SET status = NULL WHERE id = 1')
        connection.execute("INSERT INTO public.\"order\" (id, status) SELECT n, 'x' FROM generate_series(10, 99) n")
    fork.sql("UPDATE public.\"order\" SET status = '' WHERE id = 1")
    fork.sql("INSERT INTO public.\"order\" VALUES (3, 'local')")

    (table,) = compare(source, fork.url)

    assert not table.equal
    assert (table.other.count, table.other.keys) == (1, (("1",),))
    assert (table.extra.count, table.extra.keys) == (1, (("3",),))
    assert (table.missing.count, len(table.missing.keys)) == (90, SHOWN_KEYS)
    assert main(["fork", "status", "--into", fork.url, "--check", source]) == 1
    shown = capsys.readouterr().out
    assert "only upstream: 90: 10, 11," in shown
    assert "different: 1: 1\n" in shown
    assert main(["fork", "status", "--into", fork.url, "--check", source, "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["equal"] is False
    assert document["compared"][0]["extra"] == {"count": 1, "keys": [["3"]]}


def test_a_fork_of_a_real_log_is_equal_to_its_source_and_after_a_gap_again(
    source: Source, new_database: Callable[[], str]
) -> None:
    source.execute(
        "CREATE TYPE mood AS ENUM ('sad', 'ok')",
        "CREATE DOMAIN age AS int",
        "CREATE TABLE people (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name varchar(30) NOT NULL, mood mood, age age,"
        " data jsonb, raw bytea, born date, seen timestamptz, amount numeric(8,2), tags text[], at inet, ratio float8,"
        " hidden text NOT NULL DEFAULT 'h')",
        "CREATE TABLE big (id text PRIMARY KEY, body text)",
        "INSERT INTO people (name, mood, age, data, raw, born, seen, amount, tags, at, ratio) SELECT 'n' || n, 'ok', n,"
        " '{\"a\": 1.0}', '\\x00ff', '2000-01-01', now(), n / 7.0, ARRAY['a', NULL], '10.0.0.1', n / 3.0"
        " FROM generate_series(1, 300) n",
        "ALTER TABLE big ALTER body SET STORAGE EXTERNAL",
        "INSERT INTO big SELECT n, repeat('x', 9000) FROM generate_series(1, 3) n",
    )
    fields = [name for name in source.columns("people") if name != "hidden"]
    source.map("Person", "people", fields=fields)
    source.map("Big", "big")
    source.setup()
    url = new_database()
    worker = source.run(limits__snapshot_rows=50)
    source.execute(
        "UPDATE people SET mood = 'sad', tags = NULL, ratio = 'NaN' WHERE id % 3 = 0",
        "DELETE FROM people WHERE id % 5 = 0",
        "UPDATE people SET name = 'Ünï' || name, seen = 'infinity' WHERE id % 7 = 0",
        "UPDATE big SET id = '9' WHERE id = '1'",
        "UPDATE big SET id = id || 'x' WHERE id <> '9'",
        "BEGIN; TRUNCATE big; INSERT INTO big VALUES ('new', repeat('y', 9000)); COMMIT",
        "INSERT INTO people (name) SELECT 'late' FROM generate_series(1, 20)",
    )
    worker.until_caught_up()
    worker.terminate()
    done = run("fork", str(source.location), "--into", url, "--yes", "--once")
    assert done.returncode == 0, done.stderr
    assert {table.entity: table.equal for table in compare(source.url, url)} == dict.fromkeys(source.entities, True)

    source.value("SELECT pg_drop_replication_slot(%s)::text", source.name)
    source.execute("DELETE FROM people WHERE id < 30", "UPDATE people SET age = age + 1 WHERE id < 60")
    source.commitlog("resume", "--accept-gap")
    worker = source.run(limits__snapshot_rows=50)
    source.execute("UPDATE people SET name = 'after' WHERE id % 2 = 0", "DELETE FROM people WHERE id % 11 = 0")
    worker.until_caught_up()
    worker.terminate()

    done = run("fork", str(source.location), "--into", url, "--once")

    assert done.returncode == 0, done.stdout + done.stderr
    assert {table.entity: table.equal for table in compare(source.url, url)} == dict.fromkeys(source.entities, True)
