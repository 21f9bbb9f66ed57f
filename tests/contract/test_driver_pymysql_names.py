"""Every name of the installed PyMySQL is under the wrapper, in the same submodule: PyMySQL's own, or ours that tags."""

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path
from types import FunctionType

import pymysql as plain
import pytest

import commitlog.drivers.pymysql as ours

NAMES = sorted(
    info.name.partition(".")[2]
    for info in pkgutil.walk_packages(plain.__path__, "pymysql.")
    if not any(part.startswith("_") for part in info.name.split("."))
)
"""The public submodules: `cursors`, `constants.ER`, …"""

FOLDER = Path(ours.__file__).parent
TAGGING = {"Connection", "Connect", "connect", "MySQLResult"}


@pytest.mark.parametrize("name", NAMES)
def test_every_submodule_is_there_with_every_public_name(name: str) -> None:
    theirs, own = (
        importlib.import_module(f"pymysql.{name}"),
        importlib.import_module(f"commitlog.drivers.pymysql.{name}"),
    )
    if name != "connections":
        assert own is theirs, "a second copy of a module has classes that no `isinstance` and no `except` knows"
        assert (FOLDER / (name.replace(".", "/") + ".pyi")).is_file() or name == "constants"
        return
    for attribute in (attribute for attribute in vars(theirs) if not attribute.startswith("__")):
        original, stands_in = getattr(theirs, attribute), getattr(own, attribute)
        if attribute in TAGGING:
            assert stands_in is not original
            assert issubclass(stands_in, original)
        else:
            assert stands_in is original


def test_every_public_name_is_there() -> None:
    for name in {*plain.__all__, *(name for name in vars(plain) if not name.startswith("_"))}:
        original, stands_in = getattr(plain, name), getattr(ours, name)
        if name in TAGGING:
            assert issubclass(stands_in, original)
        elif name not in ("connections", "install_as_MySQLdb"):
            assert stands_in is original, name
    assert set(plain.__all__) < set(ours.__all__)
    assert ours.connect is ours.Connect is ours.Connection is ours.connections.Connection


def test_methods_have_the_signatures_of_pymysql() -> None:
    for name, method in vars(plain.connections.Connection).items():
        if isinstance(method, FunctionType) and not name.startswith("_"):
            theirs, own = method.__code__, getattr(ours.Connection, name).__code__
            assert theirs.co_varnames[: theirs.co_argcount] == own.co_varnames[: own.co_argcount], name


def test_who_imports_mysqldb_gets_what_tags() -> None:
    program = (
        "from commitlog.drivers import pymysql; import pymysql as plain; pymysql.install_as_MySQLdb();"
        "import MySQLdb, MySQLdb.connections; from MySQLdb.constants import CLIENT; from MySQLdb.converters import conversions;"
        "assert MySQLdb.connect is pymysql.Connection is MySQLdb.connections.Connection;"
        "assert CLIENT is plain.constants.CLIENT and conversions is plain.converters.conversions"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
