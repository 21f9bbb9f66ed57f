"""mysqlclient (`MySQLdb`), wrapped: the same names, results and errors, and every transaction carries its session's tag.

Change `import MySQLdb` to `from commitlog.drivers import mysqlclient as MySQLdb`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from .. import submodules
from ..mysqlclient_stamp import Untagged as Untagged
from . import connections as connections
from .connections import Connection as Connection

_plain: Any = import_module("MySQLdb")

__all__ = [*_plain.__all__, "Untagged"]  # pyright: ignore[reportUnsupportedDunderAll] - names come by __getattr__

Connect = connect = Connection

submodules.install(__name__, _plain.__name__)


def __getattr__(name: str) -> Any:
    return getattr(_plain, name)
