"""A PostgreSQL of our own on this machine: made in a folder, started, stopped or killed, and removed without a trace.

It listens on the loopback only, behind a password of its own. It ends when the process that started it ends, even
by SIGKILL (its folder then stays until the next one is made), unless it is told to outlive it.
"""

import os
import secrets
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Self

from .account import Account
from .failure import ServerFailed
from .ports import HOST
from .postgres import Server
from .process import LocalService, folder_for
from .programs import Programs, find_programs
from .scratch import Scratch

StopMode = Literal["fast", "immediate", "kill"]

_START_TIMEOUT_S = 60.0  # crash recovery included
_STOP_TIMEOUT_S = 30.0
_POLL_S = 0.01
_STOP_SIGNALS: Mapping[StopMode, signal.Signals] = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}
_DEFAULTS: Mapping[str, str] = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "wal_level": "logical",
    "max_wal_senders": "20",
    "max_replication_slots": "20",
}


class PostgresServer(LocalService, Server):
    """A local PostgreSQL; leaving its `with` block stops it and removes what it made.

    Attributes:
        url: `postgresql://…` of the superuser; the same after a restart.
        folder: The data folder.
        programs: The programs of this version, such as `programs.path("pg_recvlogical")`.
    """

    def __init__(
        self,
        home: Path,
        scratch: Scratch | None,
        *,
        outlive: bool,
        programs: Programs,
        account: Account,
        password: str,
    ) -> None:
        LocalService.__init__(self, home, scratch, outlive=outlive)
        Server.__init__(self, "")
        self.folder = home / "data"
        self.programs = programs
        self._account = account
        self._password = password

    @classmethod
    def start(
        cls,
        folder: Path | None = None,
        *,
        settings: Mapping[str, str] | None = None,
        version: str | None = None,
        copy_of: "PostgresServer | None" = None,
        standby_of: "PostgresServer | None" = None,
        outlive: bool = False,
    ) -> Self:
        """Make a new data folder and start a server on it.

        Args:
            folder: Where everything goes, a folder that is empty or not there; it is kept. None takes a temporary one,
                removed in the end. Root needs one that the user nobody can reach.
            settings: Server settings beside or instead of ours (wal_level=logical, 20 slots, loopback only). fsync is
                on unless said otherwise.
            version: The major version, such as "17"; None takes the newest that is installed.
            copy_of: A stopped server of ours, to go on from a copy of its data as a restored backup would.
            standby_of: A running server of ours, to be followed as its standby until `promote`. It says in `settings` what it
                needs beyond a connection to it, such as primary_slot_name.
            outlive: Let it go on after this process ends, until somebody sends SIGINT to `pid`.

        Raises:
            ServerFailed: The message names the step; nothing is left running, and no temporary folder.
        """
        account = Account.current()
        # Root's own TMPDIR is often closed to everyone else (libpam-tmpdir), and the server is then somebody else.
        parent = "/tmp" if account.uid is not None else None  # noqa: S108
        with folder_for("commitlog-postgres-", folder, outlive=outlive, parent=parent) as (given, scratch):
            home = _home(given if scratch else _empty(given), account)
            origin = copy_of or standby_of
            programs = find_programs(
                account, version or (origin.version if origin else None), copy_to=home if outlive else None
            )
            password = origin._password if origin else secrets.token_hex(8)
            server = cls(home, scratch, outlive=outlive, programs=programs, account=account, password=password)
            if copy_of:
                shutil.copytree(copy_of.folder, server.folder, symlinks=True)
                account.take(server.folder)
            elif standby_of:
                server._base_backup(standby_of)
            else:
                server._initdb()
            with server._or_killed():
                wanted = {**_DEFAULTS, **(settings or {})}
                server._on_free_port(lambda port: server._start_on(port, wanted))
            return server

    @property
    def version(self) -> str:
        """Such as "18.6"."""
        return self.programs.version

    def stop(self, mode: StopMode = "fast") -> None:
        """End the server and wait until its last process is gone; the data stays.

        Args:
            mode: `fast` disconnects everyone and waits for what replication still has to send, `immediate` leaves
                recovery to the next start, `kill` is SIGKILL, as the kernel short of memory would do it.

        Raises:
            ServerFailed: It is not running, or does not end in time; `close` ends it in any case.
        """
        process = self._running("stop")
        if mode != "kill":
            process.send_signal(_STOP_SIGNALS[mode])
            try:
                process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                raise ServerFailed("stop", f"{mode} took longer than {_STOP_TIMEOUT_S:.0f} s") from None
        else:
            # Stopped first, so that it starts no child between our look and its end.
            process.send_signal(signal.SIGSTOP)
            with _children(process.pid) as children:
                process.kill()
                process.wait()
                _end(children)
        self._process = None

    def restart(self, mode: StopMode = "fast") -> None:
        """Stop the server if it runs, and start it again on the same data, port and URL.

        Raises:
            ServerFailed: As `stop`, or it does not come up.
        """
        if self.running:
            self.stop(mode)
        self._run_server()

    def promote(self) -> None:
        """Make a standby a primary of its own, on a new timeline, and wait until it takes writes.

        Raises:
            ServerFailed: It does not become one in time.
        """
        with self._connect() as connection:
            row = connection.execute("SELECT pg_promote(true, %s)", [int(_START_TIMEOUT_S)]).fetchone()
        if row != (True,):
            raise ServerFailed("promote", f"not a primary within {_START_TIMEOUT_S:.0f} s: {self.log_tail()}")

    def configure(self, **settings: str) -> None:
        """Set settings, in force from the next `reload` or `restart` on."""
        self._configure(settings)

    def reload(self) -> None:
        """Let the server read its settings again, and wait until it has.

        Raises:
            ServerFailed: It does not in time.
        """
        with self._connect() as connection:
            before = connection.execute("SELECT pg_conf_load_time()").fetchone()
            connection.execute("SELECT pg_reload_conf()")
        deadline = time.monotonic() + _STOP_TIMEOUT_S
        while True:
            with self._connect() as connection:
                if connection.execute("SELECT pg_conf_load_time()").fetchone() != before:
                    return
            if time.monotonic() > deadline:
                raise ServerFailed("reload", f"not within {_STOP_TIMEOUT_S:.0f} s: {self.log_tail()}")
            time.sleep(_POLL_S)

    def close(self) -> None:
        """End the server, kindly or not, and remove what was temporary; a second time does nothing."""
        if self.running:
            try:
                self.stop("immediate")
            except ServerFailed:
                self.stop("kill")
        if self._scratch:
            self._scratch.remove()

    def _initdb(self) -> None:
        self.folder.mkdir(mode=0o700)
        self._account.take(self.folder)
        password_file = self._home / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(self._password)
        self._account.take(password_file)
        command: list[str | Path] = [self.programs.path("initdb"), "--pgdata", self.folder, "--username", "postgres"]
        command += ["--auth", "scram-sha-256", "--pwfile", password_file]
        command += ["--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync"]
        try:
            self._finish("initdb", command, **self._account.process_options())
        finally:
            password_file.unlink()

    def _base_backup(self, primary: "PostgresServer") -> None:
        """Copy a running server, and follow it from there on."""
        self.folder.mkdir(mode=0o700)
        self._account.take(self.folder)
        command: list[str | Path] = [self.programs.path("pg_basebackup"), "--pgdata", self.folder]
        command += ["--dbname", primary.url, "--checkpoint", "fast", "--no-sync"]
        self._finish("pg_basebackup", command, **self._account.process_options())
        (self.folder / "standby.signal").touch()
        self._account.take(self.folder)
        self._configure({"primary_conninfo": primary.url})

    def _start_on(self, port: int, settings: Mapping[str, str]) -> None:
        self.url = f"postgresql://postgres:{self._password}@{HOST}:{port}/postgres"
        self._configure({**settings, "port": str(port)})
        self._run_server()

    def _configure(self, settings: Mapping[str, str]) -> None:
        """Append the settings: the last of a name holds, and ALTER SYSTEM still goes over them."""
        quoted = {name: value.replace("'", "''") for name, value in settings.items()}
        with (self.folder / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in quoted.items())

    def _run_server(self) -> None:
        self._run(
            [self.programs.path("postgres"), "-D", self.folder],
            self._ready,
            ends_by=signal.SIGQUIT,
            timeout_s=_START_TIMEOUT_S,
            poll_s=_POLL_S,
            **self._account.process_options(),
        )

    def _ready(self, pid: int) -> bool:
        """Whether it says so in the file that pg_ctl waits for, too. Source: src/bin/pg_ctl/pg_ctl.c."""
        file = self.folder / "postmaster.pid"
        lines = file.read_text().splitlines() if file.exists() else []
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"


def _empty(home: Path) -> Path:
    """A folder that is given, made where it is not there."""
    home.mkdir(parents=True, exist_ok=True)
    if any(home.iterdir()):
        raise ServerFailed("folder", f"{home} is not empty")
    return home


def _home(home: Path, account: Account) -> Path:
    """The folder of a server; open enough for the server's account to pass through it."""
    home.chmod(0o711)
    closed = [parent for parent in home.parents if not account.may_enter(parent)]
    if closed:
        raise ServerFailed("folder", f"root hands the server to the user nobody, who cannot enter {closed[-1]}")
    return home


@contextmanager
def _children(pid: int) -> Generator[list[int]]:
    """File descriptors of the process's children: unlike their numbers, they never come to mean another process."""
    descriptors: list[int] = []
    try:
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and _parent(entry) == pid:
                try:
                    descriptors.append(os.pidfd_open(int(entry.name)))
                except ProcessLookupError:
                    continue
        yield descriptors
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _parent(process: Path) -> int | None:
    try:
        # The name in brackets may hold anything, so the fields are counted from its last bracket. Source: proc(5).
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None


def _end(descriptors: list[int], patience_s: float = 2.0) -> None:
    """Wait for processes that see their parent gone, and kill those too busy to look."""
    for descriptor in descriptors:
        waiter = select.poll()
        waiter.register(descriptor, select.POLLIN)
        if not waiter.poll(patience_s * 1000):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            waiter.poll()
