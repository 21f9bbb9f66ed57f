"""The submodules of psycopg under our name, too: whatever the installed version has, and the same objects.

`import commitlog.drivers.psycopg.rows` gives `psycopg.rows` itself. Only what has a file of its own here is ours, because
it holds classes that tag. The `.pyi` files beside it tell type checkers the same.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from types import ModuleType

OURS = __name__.rpartition(".")[0]
THEIRS = "psycopg"


class Submodules(MetaPathFinder, Loader):
    """Finds `commitlog.drivers.psycopg.X` where there is a `psycopg.X`."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where a submodule comes from, or None where it is not one of psycopg's, or has a file here."""
        if not fullname.startswith(OURS + "."):
            return None
        if fullname.rpartition(".")[0] == OURS:
            own = PathFinder.find_spec(fullname, path)
            if own is not None and own.has_location:  # a folder of `.pyi` files has none
                return None
        return ModuleSpec(fullname, self) if find_spec(_theirs(fullname)) else None

    def exec_module(self, module: ModuleType) -> None:
        """Put psycopg's own module in the place of the empty one, as importlib lets a module do."""
        sys.modules[module.__name__] = import_module(_theirs(module.__name__))


def install() -> None:
    """Have imports look here first: the folders of psycopg's own packages would be read a second time otherwise."""
    if not any(isinstance(finder, Submodules) for finder in sys.meta_path):
        sys.meta_path.insert(0, Submodules())


def _theirs(fullname: str) -> str:
    return THEIRS + fullname.removeprefix(OURS)
