"""The demo does what it says on real servers, and leaves nothing behind however it ends."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from confluent_kafka.admin import AdminClient

from commitlog.cdc.demo.engines import engine_named
from commitlog.cdc.servers import debian, mongod_programs
from commitlog.cdc.servers.binlog import BinlogServer
from commitlog.cdc.servers.failure import (
    KAFKA_BOOTSTRAP_VARIABLE,
    MARIADB_URL_VARIABLE,
    MONGODB_URL_VARIABLE,
    MYSQL_URL_VARIABLE,
    POSTGRES_URL_VARIABLE,
)
from commitlog.cdc.servers.kafka import Kafka
from commitlog.cdc.servers.mongodb import MongoServer
from commitlog.cdc.servers.postgres import Server
from fixtures.elsewhere import here_or_skipped

pytestmark = pytest.mark.timeout(240)

AS_IT_IS = [sys.executable, "-m", "commitlog.cdc.cli.main"]
END_S = 150.0

HURRIED = """
import sys
from commitlog.cdc.cli.main import main
from commitlog.cdc.demo import story, trials

story.PACE_S, trials.STEADY_S, trials.DOWN_S = 0.0, 0.5, 0.3
"""
"""The demo for nobody to watch."""

LIAR = """
from dataclasses import replace

def commit_of(location, request, *, found=story.commit_of):
    commit = found(location, request)
    return replace(commit, by={**commit.by, "user": "eve"})

story.commit_of = commit_of
"""
"""The demo with a log that names another user than the one who sent the request."""

DATABASES = "SELECT GROUP_CONCAT(SCHEMA_NAME ORDER BY 1) FROM information_schema.SCHEMATA"

Run = Callable[..., "Demo"]


class Demo:
    """A running demo, what it has said, and all processes that were ever below it."""

    def __init__(self, *options: str, command: list[str], env: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [*command, *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **env},
        )
        self._lines: list[str] = []
        self._below: dict[tuple[int, str], list[str]] = {}
        self._threads = [threading.Thread(target=self._read), threading.Thread(target=self._watch)]
        for thread in self._threads:
            thread.start()

    @property
    def text(self) -> str:
        return "".join(self._lines)

    def await_text(self, text: str) -> None:
        deadline = time.monotonic() + END_S
        while text not in self.text:
            assert self._process.poll() is None, f"the demo ended before {text!r}: {self.text}"
            assert time.monotonic() < deadline, f"no {text!r} in {END_S:.0f} s: {self.text}"
            time.sleep(0.01)

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def worker(self) -> int:
        """The process id of the worker that runs now."""
        workers = [pid for pid, start in self._running() if self._below[pid, start][-1:] == ["run"]]
        assert len(workers) == 1
        return workers[0]

    def end(self) -> int:
        """Wait for the end; its exit code."""
        code = self._process.wait(END_S)
        for thread in self._threads:
            thread.join()
        assert self._process.stdout is not None
        self._process.stdout.close()
        return code

    def give_up(self) -> None:
        """End it where the test did not come to that."""
        if self._process.poll() is None:
            self._process.terminate()
        self.end()

    def alive(self) -> list[list[str]]:
        """The processes below it that are still there."""
        return [self._below[process] for process in self._running()]

    def server_folders(self) -> list[Path]:
        """The data folders of the servers it started."""
        commands = self._below.values()
        postgres = [arguments for arguments in commands if arguments[0].endswith("postgres") and "-D" in arguments]
        options = [option.partition("=") for arguments in commands for option in arguments]
        others = [Path(value) for name, _, value in options if name in ("--datadir", "--dbpath")]
        return [Path(arguments[arguments.index("-D") + 1]) for arguments in postgres] + others

    def _running(self) -> list[tuple[int, str]]:
        return [(pid, start) for pid, start in list(self._below) if started(pid) == start]

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.append(line)

    def _watch(self) -> None:
        while self._process.poll() is None:
            for pid in below(self._process.pid):
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                    arguments = Path(f"/proc/{pid}/cmdline").read_text().removesuffix("\0").split("\0")
                    start = started(pid)
                    # A process that is just ending has no arguments any more.
                    if start is not None and arguments != [""]:
                        self._below[pid, start] = arguments
            time.sleep(0.05)


def below(pid: int) -> list[int]:
    """The processes that a process, or one below it, started."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found: list[int] = []
    todo = [pid]
    while todo:
        of = children.get(todo.pop(), [])
        found += of
        todo += of
    return found


def started(pid: int) -> str | None:
    """When a process started, by which it is told from a later one of its number; None for one that has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else fields[19]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """A function that starts the demo; whatever it makes for a time goes to `tmp_path`."""
    demos: list[Demo] = []

    def start(*options: str, twist: str = "", hurried: bool = True, **env: str) -> Demo:
        given = (POSTGRES_URL_VARIABLE, MYSQL_URL_VARIABLE, MARIADB_URL_VARIABLE, MONGODB_URL_VARIABLE)
        none = dict.fromkeys(given, "")
        settings = {"TMPDIR": str(tmp_path), **none, **env}
        program = [sys.executable, "-c", f"{HURRIED}{twist}\nsys.exit(main(sys.argv[1:]))"] if hurried else AS_IT_IS
        demos.append(Demo("demo", *options, command=program, env=settings))
        return demos[-1]

    yield start
    for demo in demos:
        demo.give_up()


def assert_nothing_is_left(demo: Demo, folder: Path) -> None:
    assert demo.alive() == []
    assert [path for path in demo.server_folders() if path.exists()] == []
    assert list(folder.iterdir()) == []


def test_the_demo_proves_every_act_and_leaves_nothing_behind(run: Run, tmp_path: Path) -> None:
    demo = run(hurried=False)

    code = demo.end()

    assert demo.text.endswith("\ndemo ok\n")
    assert code == 0
    assert "\x1b" not in demo.text
    assert demo.server_folders() != []
    assert_nothing_is_left(demo, tmp_path)


@pytest.mark.parametrize("engine", ["mysql", pytest.param("mariadb", marks=pytest.mark.full), "mongodb"])
def test_on_other_engines_it_proves_every_act_too_and_leaves_nothing_behind(
    run: Run, tmp_path: Path, engine: str
) -> None:
    here_or_skipped(engine_named(engine).fetch, (*debian.NOT_HERE, *mongod_programs.NOT_HERE))
    demo = run("--engine", engine)

    code = demo.end()

    assert demo.text.endswith("\ndemo ok\n")
    assert code == 0
    assert f"\n  database    {engine_named(engine).title} " in demo.text
    assert re.search(r"\b(WAL|LSN|slots?|publication|psycopg|PostgreSQL)\b", demo.text) is None
    assert re.search(r"://\w+:", demo.text) is None, "a password is shown"
    assert demo.server_folders() != []
    assert_nothing_is_left(demo, tmp_path)


def test_it_leaves_no_database_on_a_given_mongodb(run: Run, tmp_path: Path, mongodb: MongoServer) -> None:
    def names() -> list[str]:
        with mongodb.client() as client:
            return [name for name in client.list_database_names() if name != "config"]

    before = names()
    demo = run("--engine", "mongodb", **{MONGODB_URL_VARIABLE: mongodb.url})
    demo.await_text("commitlog run &")
    assert names() != before

    demo.send(signal.SIGINT)

    assert demo.end() == 130
    assert names() == before
    assert demo.server_folders() == []
    assert_nothing_is_left(demo, tmp_path)


def test_it_leaves_no_database_on_a_given_mysql(run: Run, tmp_path: Path, mysql_server: BinlogServer) -> None:
    before = mysql_server.query(DATABASES)
    demo = run("--engine", "mysql", **{MYSQL_URL_VARIABLE: mysql_server.url})
    demo.await_text("commitlog run &")
    assert mysql_server.query(DATABASES) != before

    demo.send(signal.SIGINT)

    assert demo.end() == 130
    assert mysql_server.query(DATABASES) == before
    assert demo.server_folders() == []
    assert_nothing_is_left(demo, tmp_path)


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("It is gone when the demo ends", signal.SIGINT),
        ("commitlog run &", signal.SIGTERM),
        ("commitlog log --follow", signal.SIGINT),
        ("kill -9", signal.SIGHUP),
    ],
)
def test_ctrl_c_and_its_kin_leave_nothing_behind_at_any_moment(
    run: Run, tmp_path: Path, moment: str, number: signal.Signals
) -> None:
    demo = run()
    demo.await_text(moment)

    demo.send(number)

    assert demo.end() == 130
    assert "demo ok" not in demo.text
    assert_nothing_is_left(demo, tmp_path)


def test_a_worker_that_dies_fails_the_demo_by_name_and_nothing_is_left(run: Run, tmp_path: Path) -> None:
    demo = run()
    demo.await_text("commitlog log --follow")

    os.kill(demo.worker(), signal.SIGKILL)

    assert demo.end() == 3
    assert "\nerror: the worker ended with -9" in demo.text
    assert "demo ok" not in demo.text
    assert_nothing_is_left(demo, tmp_path)


def test_a_proof_that_does_not_hold_fails_the_demo_and_nothing_is_left(run: Run, tmp_path: Path) -> None:
    demo = run(twist=LIAR)

    assert demo.end() == 3
    assert "\nerror: the proof does not hold: each commit names the user who sent its request" in demo.text
    assert "demo ok" not in demo.text
    assert_nothing_is_left(demo, tmp_path)


def test_keep_leaves_it_running_until_ctrl_c_and_then_no_database_and_no_slot_on_a_given_server(
    run: Run, tmp_path: Path, postgres_server: Server
) -> None:
    before = contents(postgres_server)
    demo = run("--keep", **{POSTGRES_URL_VARIABLE: postgres_server.url})
    demo.await_text("curl ")

    assert "\ndemo ok\n" in demo.text
    assert demo.worker() > 0
    assert len(contents(postgres_server)) > len(before)
    demo.send(signal.SIGINT)

    assert demo.end() == 0
    assert contents(postgres_server) == before
    assert demo.server_folders() == []
    assert_nothing_is_left(demo, tmp_path)


@pytest.mark.full
@pytest.mark.usefixtures("kafka_needs")
def test_with_the_log_on_kafka_it_proves_every_act_too_and_leaves_nothing_behind(run: Run, tmp_path: Path) -> None:
    demo = run("--kafka", **{KAFKA_BOOTSTRAP_VARIABLE: ""})

    code = demo.end()

    assert demo.text.endswith("\ndemo ok\n")
    assert code == 0
    assert_nothing_is_left(demo, tmp_path)


def test_it_leaves_no_topic_and_no_group_on_a_given_broker(
    run: Run, tmp_path: Path, postgres_server: Server, kafka: Kafka
) -> None:
    before = topics_and_groups(kafka)
    demo = run("--kafka", **{POSTGRES_URL_VARIABLE: postgres_server.url, KAFKA_BOOTSTRAP_VARIABLE: kafka.bootstrap})
    demo.await_text("session records sent to topic")
    assert len(topics_and_groups(kafka)) > len(before)

    demo.send(signal.SIGINT)

    assert demo.end() == 130
    assert topics_and_groups(kafka) == before
    assert_nothing_is_left(demo, tmp_path)


def test_without_java_the_demo_on_kafka_says_so(run: Run, tmp_path: Path, postgres_server: Server) -> None:
    nothing = {"PATH": str(tmp_path / "nowhere"), POSTGRES_URL_VARIABLE: postgres_server.url}
    demo = run("--kafka", **nothing, **{KAFKA_BOOTSTRAP_VARIABLE: ""})

    assert demo.end() == 5
    assert "error: a local Kafka could not be provided, step java: java is not installed\n" in demo.text
    assert "\ntry: install Java 17 or later" in demo.text


def topics_and_groups(kafka: Kafka) -> list[str]:
    """What a broker has of topics and groups of consumers, beside its own."""
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    groups = admin.list_consumer_groups(request_timeout=10).result(10).valid
    topics = [name for name in admin.list_topics(timeout=10).topics if not name.startswith("__")]
    return sorted([*topics, *(group.group_id for group in groups)])


def contents(server: Server) -> list[tuple[str, str]]:
    """The databases and slots of a server."""
    with psycopg.connect(server.url, autocommit=True, connect_timeout=10) as connection:
        slots = "SELECT 'slot', slot_name FROM pg_replication_slots"
        rows = connection.execute(f"SELECT 'database', datname FROM pg_database UNION ALL {slots}").fetchall()
    return sorted(rows)
