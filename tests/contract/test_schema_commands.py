"""`commitlog schema` on a real server: draft, check, add with and without a worker, list."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from commitlog.cdc.cli.main import main
from commitlog.cdc.database_url import split_password
from commitlog.cdc.log.location import Location
from commitlog.cdc.log.reader import Reader
from commitlog.cdc.log.verify import verify

PROGRAM = "import sys; from commitlog.cdc.cli.main import main; sys.exit(main())"

CONFIG = """
[source]
url = "{url}"
password = "env:SHOP_PASSWORD"
publication = "{unique}"
slot = "{unique}"
[log]
url = "file:log"
name = "shop"
[http]
listen = ""
"""

TABLES = """
CREATE TABLE orders (id bigint PRIMARY KEY, status text, customer_email text, "No" int);
CREATE TABLE "Odd ""Ta.ble" ("key col" int PRIMARY KEY, no text);
CREATE TABLE keyless (a int);
"""

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path, database: str, unique: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a configuration for a database with some tables; the test stands in it."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(TABLES)
    url, password = split_password(database)
    monkeypatch.setenv("SHOP_PASSWORD", password or "")
    (tmp_path / "commitlog.toml").write_text(CONFIG.format(url=url, unique=unique))
    (tmp_path / "schemas").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in this process: (exit code, stdout, stderr)."""

    def call(*argv: str) -> tuple[int, str, str]:
        code = main(argv)
        return (code, *capsys.readouterr())

    return call


def write(file: Path, text: str, *changes: tuple[str, str]) -> str:
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    file.write_text(text)
    return str(file)


@contextmanager
def worker(folder: Path) -> Iterator[None]:
    """A worker as a process of its own, from its first record in the log until it ended well."""
    head = folder / "log" / "shop" / "head"
    before = head.read_bytes() if head.exists() else b""
    running = subprocess.Popen([sys.executable, "-c", PROGRAM, "run"], cwd=folder, stderr=subprocess.PIPE, text=True)
    try:
        assert running.stderr is not None
        deadline = time.monotonic() + 30
        while not any("streaming" in line for line in iter(running.stderr.readline, "")):
            assert time.monotonic() < deadline
            assert running.poll() is None
        assert head.exists() or not before
        yield
        running.send_signal(signal.SIGTERM)
        assert running.wait(20) == 0, running.stderr.read()
    finally:
        running.kill()
        running.communicate()


def test_a_draft_fits_the_database_it_came_from(folder: Path, run: Run) -> None:
    code, text, err = run("schema", "draft", "--app", "shop")
    assert (code, err) == (0, "")
    assert """from: 'public."Odd ""Ta.ble"'""" in text
    assert "#   public.keyless" in text
    assert "customer_email: {class: personal}  # text" in text
    file = write(folder / "schemas" / "shop.yaml", text)
    code, out, err = run("schema", "check", file)
    assert (code, err) == (0, "")
    assert out.startswith(f"ok: {file}, schema ")


def test_s1_s2_s3_check_names_every_problem_with_file_and_line_and_exits_4(folder: Path, run: Run) -> None:
    text = run("schema", "draft")[1]
    line = text.splitlines().index("      status: {class: public}  # text") + 1
    s1 = write(folder / "s1.yaml", text, ("status: {class: public}", "status: {class: pubic}"))
    s2 = write(folder / "s2.yaml", text, ("      status:", "      state:"), ("public.orders", "public.order"))
    s3 = write(
        folder / "s3.yaml",
        text + "\n  Twice:\n    from: public.orders\n    key: [id]\n    fields: {id: {class: public}}\n",
    )
    code, out, err = run("schema", "check", s1, s2, s3)
    assert (code, out) == (4, "")
    assert f"error: {s1}:{line}: entities.orders.fields.status.class: class must be one of public" in err
    assert "the database has no table public.order\ntry: write public.orders" in err
    assert "entities.Twice.from: public.orders is claimed by orders, too" in err
    s2 = write(folder / "s2.yaml", text, ("      status:", "      state:"))
    code, _, err = run("schema", "check", s2)
    assert (code, err) == (
        4,
        f"error: {s2}:{line}: entities.orders.fields.state: public.orders has no column state\ntry: write status\n",
    )


def test_without_a_database_a_file_is_checked_alone_and_that_is_said(folder: Path, run: Run) -> None:
    file = write(folder / "shop.yaml", run("schema", "draft")[1], ("      status:", "      state:"))
    code, out, err = run("schema", "check", file, "--source", "postgresql://nobody@127.0.0.1:1/none")
    assert (code, out.startswith("ok: ")) == (0, True)
    assert err.startswith("note: not compared with the database: ")


def test_add_with_and_without_a_worker_prints_the_seq_and_list_shows_it(folder: Path, run: Run) -> None:
    text = run("schema", "draft")[1]
    write(folder / "schemas" / "shop.yaml", text)
    build = write(folder / "b.yaml", text, ("default: true", 'builds: ["sha256:b"]'))
    again = write(folder / "c.yaml", text, ("default: true", 'builds: ["sha256:c"]'))

    code, out, err = run("schema", "add", build)
    assert (code, out) == (2, "")
    assert err.endswith("try: put the file into " + str(folder / "schemas") + ", then commitlog run\n")

    assert run("setup")[0] == 0
    try:
        with worker(folder):
            code, out, err = run("schema", "add", build)
            assert (code, err) == (0, "")
            seq = int(out.split(" is record ")[1].split()[0])
            assert run("schema", "add", build)[1] == out, "again is the same"
            wrong = write(folder / "d.yaml", text, ("      status:", "      state:"))
            code, _, err = run("schema", "add", wrong)
            assert code == 4
            assert "are both the default" in err
        code, out, err = run("schema", "add", again)
        assert (code, err) == (0, "")
        assert int(out.split(" is record ")[1].split()[0]) > seq

        listed = [json.loads(line) for line in run("schema", "list", "--json")[1].splitlines()]
        added = {tuple(document["schema"].get("builds", [])): document["seq"] for document in listed}
        assert added["sha256:b",] == seq
        assert "sha256:c" in run("schema", "list")[1]
        assert verify(Reader(Location(folder / "log", "shop"))).head.seq >= seq

        with worker(folder):
            assert int(run("schema", "add", build)[1].split(" is record ")[1].split()[0]) == seq, (
                "kept across a restart"
            )
    finally:
        assert run("teardown", "--yes")[0] == 0
