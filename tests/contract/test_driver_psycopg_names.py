"""Every name of the installed psycopg is under the wrapper, in the same submodule: psycopg's own, or ours that tags."""

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import psycopg as plain
import pytest

import commitlog.drivers.psycopg as ours

NAMES = sorted(
    info.name.partition(".")[2]
    for info in pkgutil.walk_packages(plain.__path__, "psycopg.")
    if not any(part.startswith("_") for part in info.name.split("."))
)
"""The public submodules: `rows`, `types.json`, …"""

FOLDER = Path(ours.__file__).parent
TAGGING = {
    "client_cursor": {"ClientCursor", "AsyncClientCursor"},
    "connection": {"Connection"},
    "connection_async": {"AsyncConnection"},
    "cursor": {"Cursor"},
    "cursor_async": {"AsyncCursor"},
    "raw_cursor": {"RawCursor", "AsyncRawCursor", "RawServerCursor", "AsyncRawServerCursor"},
}
"""The submodules that have a file of their own, with the classes in them that tag."""


def both(name: str) -> tuple[ModuleType, ModuleType]:
    try:
        theirs = importlib.import_module(f"psycopg.{name}")
    except ImportError as error:
        # As with psycopg.types.shapely, where that library is missing: the wrapper says the same.
        with pytest.raises(type(error), match=str(error)):
            importlib.import_module(f"commitlog.drivers.psycopg.{name}")
        return plain, plain
    return theirs, importlib.import_module(f"commitlog.drivers.psycopg.{name}")


def public(module: ModuleType) -> list[str]:
    return [name for name in getattr(module, "__all__", vars(module)) if not name.startswith("_")]


@pytest.mark.parametrize("name", NAMES)
def test_every_submodule_is_there_with_every_public_name(name: str) -> None:
    theirs, own = both(name)
    for attribute in public(theirs):
        original, stands_in = getattr(theirs, attribute), getattr(own, attribute)
        if attribute in TAGGING.get(name, ()):
            assert stands_in is getattr(ours, attribute)
            assert issubclass(stands_in, original)
        else:
            assert stands_in is original
    if name not in TAGGING:
        assert own is theirs, "a second copy of a module has classes that no `isinstance` and no `except` knows"


def test_a_submodule_is_imported_in_every_way_of_writing_it() -> None:
    from commitlog.drivers.psycopg.crdb import CrdbConnection
    from commitlog.drivers.psycopg.cursor import Cursor
    from commitlog.drivers.psycopg.rows import dict_row
    from commitlog.drivers.psycopg.types.json import Jsonb

    assert ours.types.json.Jsonb is Jsonb
    assert ours.rows.dict_row is dict_row
    assert Cursor is ours.Cursor
    assert CrdbConnection.__module__ == "psycopg.crdb"
    assert vars(ours)["connection"].Connection is ours.Connection
    with pytest.raises(ModuleNotFoundError, match=r"commitlog\.drivers\.psycopg\.nowhere"):
        importlib.import_module("commitlog.drivers.psycopg.nowhere")


def test_importing_a_submodule_first_needs_nothing_before_it_and_leaves_psycopg_as_it_was() -> None:
    program = (
        "import commitlog.drivers.psycopg.types.range as ours, psycopg.types.range as theirs, importlib, sys\n"
        "assert ours is theirs and theirs.__name__ == theirs.__spec__.name == 'psycopg.types.range'\n"
        "importlib.reload(sys.modules['commitlog.drivers.psycopg'])\n"
        "assert sum(type(finder).__name__ == 'Submodules' for finder in sys.meta_path) == 1\n"
    )
    run = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert run.stderr == ""
    assert run.returncode == 0


def test_type_checkers_are_told_of_every_submodule() -> None:
    files = [*FOLDER.rglob("*.pyi"), *(FOLDER / f"{name}.py" for name in TAGGING)]
    told = {str(path.relative_to(FOLDER).with_suffix("")).removesuffix("/__init__").replace("/", ".") for path in files}
    assert told == set(NAMES)
    for path in FOLDER.rglob("*.pyi"):
        name = str(path.relative_to(FOLDER).with_suffix("")).removesuffix("/__init__").replace("/", ".")
        assert path.read_text() == f"from psycopg.{name} import *\n"
