"""Every name of the installed mysqlclient is under the wrapper, in the same submodule: mysqlclient's own, or ours that tags."""

import pkgutil
import subprocess
import sys
from importlib import import_module
from types import FunctionType
from typing import Any

import pytest

TAGGING = {"Connection", "Connect", "connect"}


@pytest.fixture
def plain(mysqlclient: Any) -> Any:
    return import_module(mysqlclient._plain.__name__)


def test_every_submodule_is_there_with_every_public_name(mysqlclient: Any, plain: Any) -> None:
    names = [info.name.partition(".")[2] for info in pkgutil.walk_packages(plain.__path__, "MySQLdb.")]
    assert {"cursors", "converters", "constants.CLIENT", "constants.ER", "times", "connections"} <= set(names)
    for name in names:
        theirs, own = import_module(f"MySQLdb.{name}"), import_module(f"commitlog.drivers.mysqlclient.{name}")
        if name != "connections":
            assert own is theirs, "a second copy of a module has classes that no `isinstance` and no `except` knows"
            continue
        for attribute in (attribute for attribute in vars(theirs) if not attribute.startswith("__")):
            original, stands_in = getattr(theirs, attribute), getattr(own, attribute)
            assert issubclass(stands_in, original) if attribute in TAGGING else stands_in is original


def test_every_public_name_is_there(mysqlclient: Any, plain: Any) -> None:
    for name in {*plain.__all__, *(name for name in vars(plain) if not name.startswith("_"))} - {"connections"}:
        original, stands_in = getattr(plain, name), getattr(mysqlclient, name)
        assert name in TAGGING or stands_in is original, name
    assert set(plain.__all__) < set(mysqlclient.__all__)
    assert mysqlclient.connect is mysqlclient.Connect is mysqlclient.Connection is mysqlclient.connections.Connection
    assert issubclass(mysqlclient.Connection, plain.connections.Connection)
    assert issubclass(mysqlclient.Untagged, plain.NotSupportedError)


def test_methods_have_the_signatures_of_mysqlclient(mysqlclient: Any, plain: Any) -> None:
    for name, method in vars(plain.connections.Connection).items():
        own = getattr(mysqlclient.Connection, name)
        if isinstance(method, FunctionType) and not name.startswith("_") and own.__code__.co_argcount > 1:
            theirs = method.__code__.co_varnames[: method.__code__.co_argcount]
            assert theirs == own.__code__.co_varnames[: own.__code__.co_argcount], name


def test_where_pymysql_stands_in_for_mysqlclient_the_wrapper_says_so() -> None:
    program = (
        "import pymysql; pymysql.install_as_MySQLdb()\n"
        "try: import commitlog.drivers.mysqlclient\n"
        "except ImportError as error: assert 'pymysql was put in its place' in str(error)\n"
        "else: raise AssertionError\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
