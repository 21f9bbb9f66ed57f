"""A MariaDB of our own on this machine: the one that is installed, else Debian's, fetched once into the user's cache."""

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from .account import Account
from .cache import cached
from .debian import Packages, loader, unpack
from .failure import MARIADB_URL_VARIABLE
from .mysqld import FEATURES, LocalMysqld, Mysqld

# What the server itself needs comes with it; of the other two only the plugins and mysqlbinlog are wanted.
_PACKAGES = Packages("bookworm", ("mariadb-server-core",), ("mariadb-server", "mariadb-client"))
# What mariadb-install-db feeds a new server, in its order; without the texts of HELP.
_SCRIPTS = (
    "mysql_system_tables.sql",
    "mysql_performance_tables.sql",
    "mysql_system_tables_data.sql",
    "maria_add_gis_sp_bootstrap.sql",
    "mysql_sys_schema.sql",
)
# Of the users that they make, the one of the socket stays.
_TIDY = "DELETE FROM global_priv WHERE Host <> 'localhost';\nDELETE FROM proxies_priv WHERE Host <> 'localhost';\n"


class MariaDbServer(LocalMysqld):
    """A local MariaDB."""

    scheme = "mariadb"
    title = "MariaDB"
    image = "mariadb:10.11"
    variable = MARIADB_URL_VARIABLE
    features: ClassVar[Mapping[str, str]] = {
        **FEATURES,
        "gtid_strict_mode": "ON",
    }
    hint = (
        f"install one (apt-get install mariadb-server), or set {MARIADB_URL_VARIABLE}=mariadb://… to a server of your own"
        " (a binlog of whole rows with full metadata, a user who may do everything)"
    )
    defaults: ClassVar[Mapping[str, str]] = {
        "gtid-strict-mode": "1",
        "server-id": "1",
        "plugin-load-add": "ha_blackhole",
    }

    @classmethod
    def find(cls, account: Account) -> Mysqld:
        """The machine's own where this account can run it, else Debian's."""
        installed = shutil.which("mariadbd", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
        version = _version(Path(installed), account) if installed else None
        if installed and version:
            path = Path(installed).resolve()

            def fill_data(folder: Path) -> None:
                cls._bootstrap(_installed(path, folder), account)

            return _installed(path, cached(f"mariadb-{version}-data", account, fill_data))

        def fill(folder: Path) -> None:
            unpack(folder, _PACKAGES, cls._failed)
            cls._bootstrap(_unpacked(folder), account)

        return _unpacked(cached("mariadb-bookworm", account, fill))

    @classmethod
    def _bootstrap(cls, program: Mysqld, account: Account) -> None:
        scripts = "".join((program.base / "share/mysql" / name).read_text() for name in _SCRIPTS)
        options = ["--bootstrap", "--max-allowed-packet=8M", "--net-buffer-length=16K", "--innodb-log-file-size=32M"]
        text = f"CREATE DATABASE mysql;\nUSE mysql;\nSET @auth_root_socket=NULL;\n{scripts}\n{_TIDY}"
        cls._make_data(program, account, options, text)


def _installed(path: Path, folder: Path) -> Mysqld:
    return Mysqld(path.parents[1], path, folder / "data")


def _unpacked(prefix: Path) -> Mysqld:
    return Mysqld(prefix / "usr", prefix / "usr/sbin/mariadbd", prefix / "data", tuple(loader(prefix)))


def _version(program: Path, account: Account) -> str | None:
    """The version of an installed server, None where it has not all that is needed, or this account cannot run it."""
    base = program.resolve().parents[1]
    if not (base / "lib/mysql/plugin/ha_blackhole.so").exists() or not (base / "share/mysql" / _SCRIPTS[0]).exists():
        return None
    said = re.search(r"Ver (\S+)-MariaDB", account.output(program, "--no-defaults", "--version") or "")
    return said[1] if said else None
