"""A MariaDB of our own on this machine: the one that is installed, else Debian's, fetched once into the user's cache."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from .account import Account
from .binlog import MARIADB_FEATURES, BinlogServer, GivenBinlogServer
from .debian import Packages, loader, unpacked
from .failure import MARIADB_URL_VARIABLE
from .mysqld import LocalMysqld, Mysqld

_HINT = (
    "install it (apt-get install mariadb-server), or set"
    f" {MARIADB_URL_VARIABLE}=mariadb://… to a server of your own (a binlog of whole rows, a user who may do everything)"
)
# What the server itself needs comes with it; of the other two only the plugins and mysqlbinlog are wanted.
_PACKAGES = Packages("bookworm", ("mariadb-server-core",), ("mariadb-server", "mariadb-client"))
_SCRIPTS = (
    "mysql_system_tables.sql",
    "mysql_performance_tables.sql",
    "mysql_system_tables_data.sql",
    "maria_add_gis_sp_bootstrap.sql",
    "mysql_sys_schema.sql",
)
"""What mariadb-install-db feeds a new server, in its order; without the texts of HELP."""


class MariaDbServer(LocalMysqld):
    """A local MariaDB."""

    scheme = "mariadb"
    title = "MariaDB"
    hint = _HINT
    defaults: ClassVar[Mapping[str, str]] = {
        "gtid-strict-mode": "1",
        "server-id": "1",
        "plugin-load-add": "ha_blackhole",
    }

    @classmethod
    def find(cls, account: Account) -> Mysqld:
        """The machine's own MariaDB where this account can run it, else Debian's."""
        installed = shutil.which("mariadbd", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
        base = Path(installed).resolve().parents[1] if installed else None
        if installed and base:
            found = _program(base, (), installed, account)
            if found and (base / "lib/mysql/plugin/ha_blackhole.so").exists():
                return found
        prefix = unpacked("mariadb-bookworm", _PACKAGES, account, cls._failed)
        program = _program(prefix / "usr", tuple(loader(prefix)), str(prefix / "usr/sbin/mariadbd"), account)
        if program is None:
            cls._failed("program", f"{prefix}/usr/sbin/mariadbd does not run on this machine")
        return program

    def _initialise(self, folder: Path) -> None:
        base = next(option for option in self.program.command if option.startswith("--basedir=")).partition("=")[2]
        scripts = "".join(Path(base, "share/mysql", name).read_text() for name in _SCRIPTS)
        # Of the users that the scripts make, the one of the socket stays.
        tidy = (
            "DELETE FROM global_priv WHERE Host <> 'localhost';\nDELETE FROM proxies_priv WHERE Host <> 'localhost';\n"
        )
        text = f"CREATE DATABASE mysql;\nUSE mysql;\nSET @auth_root_socket=NULL;\n{scripts}\n{tidy}"
        options = [f"--datadir={folder}", "--bootstrap", "--max-allowed-packet=8M", "--net-buffer-length=16K"]
        options += ["--innodb-log-file-size=32M", "--innodb-flush-method=nosync"]
        self._finish("bootstrap", options, text)


def provide_mariadb(settings: Mapping[str, str] | None = None) -> BinlogServer:
    """A MariaDB with a binlog that can be read and a user who may do everything, to be used in a `with` block.

    Args:
        settings: Options for one that we start; a server that is given keeps its own.

    Raises:
        Unreachable: The given URL does not answer; it is never passed over for another server.
        Refused: The given server does not write the log that is needed.
        ServerFailed: None was given and none could be started.
    """
    url = os.environ.get(MARIADB_URL_VARIABLE)
    if url:
        return GivenBinlogServer(url, MARIADB_FEATURES, MARIADB_URL_VARIABLE)
    return MariaDbServer.start(settings=settings)


def _program(base: Path, before: tuple[str, ...], path: str, account: Account) -> Mysqld | None:
    """The program with where its files are, or None where the account cannot run it."""
    share = base / "share/mysql"
    options = (
        "--no-defaults",
        f"--basedir={base}",
        f"--lc-messages-dir={share}",
        f"--character-sets-dir={share}/charsets",
    )
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
    except (OSError, subprocess.SubprocessError):
        return None
    version = re.search(r"Ver (\S+)-MariaDB", said)
    if version is None or not share.is_dir():
        return None
    command = (*before, path, *options, f"--plugin-dir={base}/lib/mysql/plugin")
    return Mysqld(f"mariadb-{version[1]}", command, base / "bin", before)
