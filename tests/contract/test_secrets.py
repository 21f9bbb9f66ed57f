"""A password is in no output: whatever command is run with it, whatever goes wrong, whatever is written or served."""

import os
import secrets
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import psycopg
import pytest
from psycopg import sql

from commitlog.cdc.cli.commands import COMMANDS
from commitlog.cdc.cli.main import main
from commitlog.cdc.database_url import shown
from commitlog.cdc.servers.ports import free_port
from commitlog.cdc.servers.postgres import Server
from fixtures.worker import Source

CANARY = "kanarienvogel"
"""Stands in every password here, so that no spelling of it hides one."""
PASSWORD = f"%:/@?#&='\"\\ é{{}}{CANARY}"


@pytest.fixture
def role(postgres_server: Server) -> Iterator[str]:
    """A superuser with that password."""
    name = f"r_{secrets.token_hex(6)}"
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        query = sql.SQL("CREATE ROLE {} SUPERUSER LOGIN PASSWORD {}")
        connection.execute(query.format(sql.Identifier(name), sql.Literal(PASSWORD)))
    yield name
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(sql.Identifier(name)))


def url_as(url: str, role: str, password: str = PASSWORD) -> str:
    parts = urlsplit(url)
    return f"postgresql://{role}:{quote(password, safe='')}@{parts.hostname}:{parts.port}{parts.path}"


class Listener:
    """Runs commands in a folder and keeps everything they say."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._monkeypatch, self._capsys = folder, monkeypatch, capsys
        self.said: list[str] = []
        for name in [name for name in os.environ if name.startswith(("COMMITLOG_", "PG"))]:
            monkeypatch.delenv(name)
        monkeypatch.chdir(folder)

    def run(self, *arguments: str, source: str = "") -> int:
        """One command on a source; its exit code."""
        self._monkeypatch.setenv("COMMITLOG_SOURCE__URL", source)
        if not source:
            self._monkeypatch.delenv("COMMITLOG_SOURCE__URL")
        code = main(arguments)
        said = self._capsys.readouterr()
        self.said.append(f"{arguments[0]}: {code}\n{said.out}{said.err}")
        return code

    def check(self) -> None:
        """Nothing said, and nothing in a file of the folder but the password's own, holds it."""
        for text in self.said:
            assert CANARY not in text, text
        for path in self.folder.rglob("*"):
            if path.is_file() and path.name != "password":
                assert CANARY.encode() not in path.read_bytes(), path


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[Path], Listener]:
    """A function that makes a Listener in a folder."""
    return lambda folder: Listener(folder, monkeypatch, capsys)


def test_no_command_says_or_keeps_a_password(
    role: str, source: Source, new_database: Callable[[], str], listener: Callable[[Path], Listener]
) -> None:
    source.execute("CREATE TABLE orders (id int PRIMARY KEY)", "INSERT INTO orders VALUES (1)")
    source.map("Order", "orders")
    url = url_as(source.url, role)
    source.configure(url)
    at_source = listener(source.folder)
    assert at_source.run("setup") == 0
    address = f"127.0.0.1:{free_port()}"
    run = source.run(fresh=True, source__url=url, http__listen=address)
    run.until_caught_up()
    process = Path(f"/proc/{run.pid}")
    at_source.said.append((process / "cmdline").read_text())
    for path in ("/metrics", "/healthz", "/readyz"):
        with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as reply:
            at_source.said.append(reply.read().decode())
    assert at_source.run("status", "--json", source=url) == 0
    run.terminate()

    log, target = f"file:log#{source.name}", url_as(new_database(), role)
    wrong = url_as(source.url, role, f"wrong {CANARY}")
    away = url_as("postgresql://127.0.0.1:1/nowhere", role)
    into = ("--into", target)
    for arguments, at in [
        (("doctor",), url),
        (("doctor", "--json"), url),
        (("setup", "--sql", "--role", "somebody"), url),
        (("resume",), url),
        (("schema", "draft"), url),
        (("schema", "list"), url),
        (("status",), wrong),
        (("doctor",), wrong),
        (("setup",), away),
        (("schema", "draft"), away),
        (("fork", "plan", log, *into), url),
        (("fork", log, *into, "--yes", "--once"), url),
        (("fork", "status", *into, "--json"), url),
        (("fork", "status", "--into", wrong), url),
        (("fork", "status", *into, "--check", wrong), url),
        (("conflicts", *into), url),
        (("fork", "drop", *into, "--yes"), url),
        (("log", "--json"), url),
        (("show", "1", "--json"), url),
        (("teardown", "--yes"), url),
        (("doctor",), url),
    ]:
        at_source.run(*arguments, source=at)
    at_source.check()
    assert not [text for text in at_source.said if "fault of commitlog" in text or "Traceback" in text]
    assert {text.partition(":")[0] for text in at_source.said} >= set(COMMANDS) - {
        "demo",
        "init",
        "run",
        "blame",
        "diff",
        "verify",
        "sessions",
    }


@pytest.mark.parametrize(
    "spoil",
    [
        lambda url: url.replace("%2F", "/"),
        lambda url: url.replace("postgresql://", "postgresql:/"),
        lambda url: url.replace("127.0.0.1", "[127.0.0.1"),
        lambda url: f"{url}?nonsense={CANARY}",
        lambda url: url.replace("%23", "#").replace("%3F", "?").replace("%40", "@"),
        lambda url: f"{shown(url)}?sslpassword={CANARY}&sslmode=nonsense",
        lambda url: url + "\n",
        lambda url: url.replace("127.0.0.1:", "127.0.0.1:x"),
    ],
    ids=["slash", "scheme", "bracket", "option", "raw signs", "sslpassword", "line", "port"],
)
def test_no_address_that_is_malformed_is_repeated_with_its_password(
    spoil: Callable[[str], str], database: str, tmp_path: Path, listener: Callable[[Path], Listener]
) -> None:
    url = spoil(url_as(database, "somebody"))
    here = listener(tmp_path)
    here.run("init", url)
    (tmp_path / "commitlog.toml").write_text("[log]\nurl = 'file:log'\nname = 'shop'\n")
    assert here.run("doctor", source=url) in (2, 4, 5)
    here.run("fork", "status", "--into", url)
    assert "Traceback" not in "".join(here.said)
    here.check()


def test_a_worker_that_cannot_log_in_does_not_say_with_what(source: Source, role: str) -> None:
    source.configure(url_as(source.url, role, f"wrong {CANARY}"))
    run = source.run()
    run.until(lambda: run.output.count("trying again") >= 2, "two attempts")
    run.kill()
    assert "password authentication failed" in run.output
    assert CANARY not in run.output
