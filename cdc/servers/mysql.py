"""A MySQL of our own on this machine: Debian's, of the suite that has one, fetched once into the user's cache."""

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from .account import Account
from .binlog import MYSQL_FEATURES, BinlogServer, GivenBinlogServer
from .debian import Packages, loader, unpacked
from .failure import MYSQL_URL_VARIABLE
from .mysqld import LocalMysqld, Mysqld

_HINT = (
    f"run it again, or set {MYSQL_URL_VARIABLE}=mysql://… to a server of your own"
    " (8.4 or later, GTIDs, a binlog of whole rows, a user who may do everything)"
)


class MySqlServer(LocalMysqld):
    """A local MySQL."""

    scheme = "mysql"
    title = "MySQL"
    hint = _HINT
    defaults: ClassVar[Mapping[str, str]] = {
        "gtid-mode": "ON",
        "enforce-gtid-consistency": "ON",
        "server-id": "1",
        "mysqlx": "OFF",
    }

    @classmethod
    def find(cls, account: Account) -> Mysqld:
        """Debian's MySQL."""
        prefix = unpacked("mysql-sid", Packages("sid", ("mysql-server-core",)), account, cls._failed)
        before, path, base = tuple(loader(prefix)), str(prefix / "usr/sbin/mysqld"), prefix / "usr"
        share = base / "share/mysql"
        try:
            said = subprocess.run(
                [*before, path, "--no-defaults", "--version"],
                cwd="/",
                capture_output=True,
                text=True,
                timeout=30,
                check=True,
                **account.process_options(),
            ).stdout
        except (OSError, subprocess.SubprocessError) as error:
            cls._failed("program", f"{path} does not run on this machine: {error}")
        version = re.search(r"Ver (\S+)", said)
        options: tuple[str, ...] = ("--no-defaults", f"--basedir={base}", f"--lc-messages-dir={share}")
        options += (f"--character-sets-dir={share}/charsets", f"--plugin-dir={base}/lib/mysql/plugin")
        return Mysqld(f"mysql-{version[1] if version else 'unknown'}", (*before, path, *options), base / "bin", before)

    def _initialise(self, folder: Path) -> None:
        self._finish("initialize", [f"--datadir={folder}", "--initialize-insecure", "--innodb-flush-method=nosync"])


def provide_mysql(settings: Mapping[str, str] | None = None) -> BinlogServer:
    """A MySQL with a binlog that can be read and a user who may do everything, to be used in a `with` block.

    Args:
        settings: Options for one that we start; a server that is given keeps its own.

    Raises:
        Unreachable: The given URL does not answer; it is never passed over for another server.
        Refused: The given server does not write the log that is needed.
        ServerFailed: None was given and none could be started.
    """
    url = os.environ.get(MYSQL_URL_VARIABLE)
    if url:
        return GivenBinlogServer(url, MYSQL_FEATURES, MYSQL_URL_VARIABLE)
    return MySqlServer.start(settings=settings)
