"""The submodules of a wrapped library under our name, too: whatever the installed version has, and the same objects.

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


class Submodules(MetaPathFinder, Loader):
    """Finds `OURS.X` where there is a `THEIRS.X`.

    Args:
        ours: Full name of the package here.
        theirs: Name of the library.
    """

    def __init__(self, ours: str, theirs: str) -> None:
        self.ours = ours
        self.theirs = theirs

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where a submodule comes from, or None where it is not one of the library's, or has a file here."""
        if not fullname.startswith(self.ours + "."):
            return None
        parent = fullname.rpartition(".")[0]
        if parent == self.ours or sys.modules[parent].__name__ == parent:  # not the library's own under our name
            own = PathFinder.find_spec(fullname, path)
            if own is not None and own.has_location:  # a folder of `.pyi` files has none
                return None
        return ModuleSpec(fullname, self) if find_spec(self._their_name(fullname)) else None

    def exec_module(self, module: ModuleType) -> None:
        """Put the library's own module in the place of the empty one, as importlib lets a module do."""
        sys.modules[module.__name__] = import_module(self._their_name(module.__name__))

    def _their_name(self, fullname: str) -> str:
        return self.theirs + fullname.removeprefix(self.ours)


def install(ours: str, theirs: str) -> None:
    """Have imports look here first: the folders of the library's packages would be read a second time otherwise."""
    if not any(isinstance(finder, Submodules) and finder.ours == ours for finder in sys.meta_path):
        sys.meta_path.insert(0, Submodules(ours, theirs))
