"""A MySQL or MariaDB of our own on this machine: made in a folder, started, stopped or killed, and removed without a trace.

It listens on the loopback only, behind a password of its own. It ends when the process that started it ends, even
by SIGKILL (its folder then stays until the next one is made), unless it is told to outlive it.
"""

import secrets
import shutil
import signal
import subprocess
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NoReturn, Self

from .account import Account
from .binlog import BinlogServer
from .failure import ServerFailed
from .ports import HOST
from .process import SingleProcess, StopMode, folder_for
from .scratch import Scratch

# Nothing a process does is lost when it is killed: what is written is in the page cache. Only the machine must not fail.
QUICK: Mapping[str, str] = {"innodb-flush-log-at-trx-commit": "2", "innodb-flush-method": "nosync"}

_START_TIMEOUT_S = 60.0  # crash recovery included
_POLL_S = 0.01
_READY = "ready for connections"
COMMON: Mapping[str, str] = {
    "bind-address": HOST,
    # In the data folder, which only the server's account can enter; a whole path could be too long for a socket.
    "socket": "mysql.sock",
    "skip-name-resolve": "ON",
    "log-bin": "binlog",
    "binlog-format": "ROW",
    "binlog-row-metadata": "FULL",
    "binlog-row-image": "FULL",
    # MariaDB's own choice is to leave it to the system when its log reaches the disk.
    "sync-binlog": "1",
}
"""Options of every server of ours; those of a product stand in `defaults`."""
FEATURES: Mapping[str, str] = {
    "log_bin": "ON",
    "binlog_format": "ROW",
    "binlog_row_image": "FULL",
    "binlog_row_metadata": "FULL",
}
"""What they say of a server (SHOW VARIABLES) whose binlog can be read."""


@dataclass(frozen=True, slots=True)
class Mysqld:
    """A server's programs.

    Attributes:
        base: The folder in which its own files are, such as /usr.
        path: The server's program.
        data: What each new data folder is a copy of.
        before: What a program there is run by.
    """

    base: Path
    path: Path
    data: Path
    before: tuple[str, ...] = ()

    @property
    def command(self) -> list[str]:
        """What runs the server, with where it finds its own files."""
        share = self.base / "share/mysql"
        options = [f"--basedir={self.base}", f"--lc-messages-dir={share}", f"--character-sets-dir={share}/charsets"]
        return [*self.before, str(self.path), "--no-defaults", *options, f"--plugin-dir={self.base}/lib/mysql/plugin"]

    def tool(self, name: str) -> list[str]:
        """What runs a program beside the server, such as `mysqlbinlog`."""
        return [*self.before, str(self.base / "bin" / name)]


class LocalMysqld(SingleProcess, BinlogServer):
    """A local server; leaving its `with` block stops it and removes what it made.

    Attributes:
        url: `mysql://…` or `mariadb://…` of root; the same after a restart.
        folder: The data folder.
        files: The only folder whose files the server reads and writes for SQL.
        program: What runs.
    """

    scheme: ClassVar[str]
    title: ClassVar[str]
    hint: ClassVar[str]
    """The way on where no server can be had."""
    image: ClassVar[str]
    """Of a container that stands in for it."""
    variable: ClassVar[str]
    """That names a server somebody else runs."""
    features: ClassVar[Mapping[str, str]]
    """What such a server must say of itself (SHOW VARIABLES)."""
    defaults: ClassVar[Mapping[str, str]]

    def __init__(
        self, home: Path, scratch: Scratch | None, *, outlive: bool, program: Mysqld, account: Account, password: str
    ) -> None:
        SingleProcess.__init__(self, home, scratch, outlive=outlive)
        BinlogServer.__init__(self, "")
        self.folder, self.files = home / "data", home / "files"
        self.program = program
        self._account = account
        self._password = password
        self._settings: dict[str, str] = {}

    @classmethod
    def start(
        cls,
        folder: Path | None = None,
        *,
        settings: Mapping[str, str] | None = None,
        copy_of: Self | None = None,
        outlive: bool = False,
    ) -> Self:
        """Make a new data folder and start a server on it.

        Args:
            folder: Where everything goes, a folder that is empty or not there; it is kept. None takes a temporary one,
                removed in the end. Root needs one that the user nobody can reach.
            settings: Options of the server beside or instead of ours (a binlog of whole rows with their columns' names, GTIDs,
                loopback only), written as on its command line without the dashes. It is durable unless they say otherwise.
            copy_of: A stopped server of ours, to go on from a copy of its data as a restored backup would.
            outlive: Let it go on after this process ends, until somebody sends SIGTERM to `pid`.

        Raises:
            ServerFailed: The message names the step; nothing is left running, and no temporary folder.
        """
        account = Account.current()
        program = cls.find(account)
        # Root's own TMPDIR is often closed to everyone else (libpam-tmpdir), and the server is then somebody else.
        parent = "/tmp" if account.uid is not None else None  # noqa: S108
        with folder_for(f"commitlog-{cls.scheme}-", folder, outlive=outlive, parent=parent) as (home, scratch):
            home.mkdir(parents=True, exist_ok=True)
            if scratch is None and any(home.iterdir()):
                cls._failed("folder", f"{home} is not empty")
            home.chmod(0o711)
            closed = [parent for parent in home.parents if not account.may_enter(parent)]
            if closed:
                cls._failed("folder", f"root hands the server to the user nobody, who cannot enter {closed[-1]}")
            password = copy_of._password if copy_of else secrets.token_hex(8)
            server = cls(home, scratch, outlive=outlive, program=program, account=account, password=password)
            shutil.copytree(copy_of.folder if copy_of else program.data, server.folder)
            account.take(server.folder)
            server.files.mkdir(mode=0o700)
            account.take(server.files)
            with server._or_killed():
                wanted = {**COMMON, **cls.defaults, **(settings or {})}
                server._on_free_port(lambda port: server._start_on(port, wanted, new=copy_of is None))
            return server

    @classmethod
    @abstractmethod
    def find(cls, account: Account) -> Mysqld:
        """The programs that are run, fetched where they are not there.

        Raises:
            ServerFailed: It cannot be had.
        """

    @classmethod
    def _failed(cls, step: str, reason: str) -> NoReturn:
        raise ServerFailed(step, reason, server=cls.title, hint=cls.hint)

    def restart(self, mode: StopMode = "fast", *, settings: Mapping[str, str] | None = None) -> None:
        """Stop the server if it runs, and start it again on the same data, port and URL.

        Args:
            mode: As of `stop`.
            settings: Options to change; they hold from now on.

        Raises:
            ServerFailed: As `stop`, or it does not come up.
        """
        if self.running:
            self.stop(mode)
        self._settings |= settings or {}
        self._run_server()

    def _fail(self, step: str, reason: str) -> NoReturn:
        self._failed(step, reason)

    @classmethod
    def _make_data(cls, program: Mysqld, account: Account, options: Sequence[str], text: str = "") -> None:
        """Make what every new data folder is a copy of: root without a password and no other user.

        Args:
            program: Whose `data` is made.
            account: Whose it is.
            options: What has the program make it, and end.
            text: What it then reads.
        """
        program.data.mkdir(mode=0o700)
        account.take(program.data)
        try:
            subprocess.run(
                [*program.command, f"--datadir={program.data}", "--innodb-flush-method=nosync", *options],
                cwd=program.data,
                input=text.encode(),
                capture_output=True,
                check=True,
                timeout=_START_TIMEOUT_S,
                **account.process_options(),
            )
        except subprocess.CalledProcessError as error:
            said = (error.stderr or error.stdout).decode(errors="replace").strip().splitlines()
            cls._failed("data", "\n".join(said[-20:]) or str(error))
        except (OSError, subprocess.TimeoutExpired) as error:
            cls._failed("data", str(error))
        # Each copy is a server of its own.
        (program.data / "auto.cnf").unlink(missing_ok=True)

    def _start_on(self, port: int, settings: Mapping[str, str], *, new: bool) -> None:
        self.url = f"{self.scheme}://root:{self._password}@{HOST}:{port}/"
        own = {"datadir": str(self.folder), "secure-file-priv": str(self.files), "port": str(port)}
        self._settings = {**own, **settings}
        self._run_server(first=new)

    def _run_server(self, *, first: bool = False) -> None:
        """Start it; the first time root gets a password."""
        options = [f"--{name}={value}" for name, value in self._settings.items()]
        file = self._home / "first.sql"
        if first:
            file.touch(mode=0o600)
            file.write_text(_FIRST.format(password=self._password))
            self._account.take(file)
            options.append(f"--init-file={file}")
        try:
            self._run(
                [*self.program.command, *options],
                lambda _: _READY in self._log.read_text(errors="replace"),
                ends_by=signal.SIGKILL,
                timeout_s=_START_TIMEOUT_S,
                poll_s=_POLL_S,
                **self._account.process_options(),
            )
        finally:
            file.unlink(missing_ok=True)


# One statement a line, as --init-file takes them; none of them goes into the log.
_FIRST = """SET sql_log_bin = 0;
ALTER USER root@localhost IDENTIFIED BY '{password}';
CREATE USER root@'%' IDENTIFIED BY '{password}';
GRANT ALL ON *.* TO root@'%' WITH GRANT OPTION;
"""
