"""A MySQL of our own on this machine: Debian's, of the suite that has one, fetched once into the user's cache."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from .account import Account
from .cache import cached
from .debian import Packages, loader, unpack
from .failure import MYSQL_URL_VARIABLE
from .mysqld import FEATURES, LocalMysqld, Mysqld

_PACKAGES = Packages("sid", ("mysql-server-core",))


class MySqlServer(LocalMysqld):
    """A local MySQL."""

    scheme = "mysql"
    title = "MySQL"
    image = "mysql:9"
    variable = MYSQL_URL_VARIABLE
    features: ClassVar[Mapping[str, str]] = {
        **FEATURES,
        "gtid_mode": "ON",
        "enforce_gtid_consistency": "ON",
    }
    hint = (
        f"set {MYSQL_URL_VARIABLE}=mysql://… to a server of your own"
        " (8.4 or later, GTIDs, a binlog of whole rows with full metadata, a user who may do everything)"
    )
    defaults: ClassVar[Mapping[str, str]] = {
        "gtid-mode": "ON",
        "enforce-gtid-consistency": "ON",
        "server-id": "1",
        "mysqlx": "OFF",
    }

    @classmethod
    def find(cls, account: Account) -> Mysqld:
        """Debian's."""

        def fill(folder: Path) -> None:
            unpack(folder, _PACKAGES, cls._failed)
            cls._make_data(_program(folder), account, ["--initialize-insecure"])

        return _program(cached("mysql-sid", account, fill))


def _program(prefix: Path) -> Mysqld:
    return Mysqld(prefix / "usr", prefix / "usr/sbin/mysqld", prefix / "data", tuple(loader(prefix)))
