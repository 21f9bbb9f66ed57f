"""A large transaction's raw changes on disk: appended while it streams in, read back once when it has committed."""

import contextlib
import tempfile
from collections.abc import Iterable, Iterator
from struct import Struct
from typing import Generic, TypeVar

from ...schemas.errors import LogUnwritable

R = TypeVar("R")

_ENTRY = Struct(">II")
_BUFFER_BYTES = 1024 * 1024


class Spill(Generic[R]):
    """An unnamed temporary file of (relation, message) entries, in order; it vanishes with the process.

    Relations stay in memory, one object each: a transaction has few, however many rows.
    """

    def __init__(self, entries: Iterable[tuple[R, bytes]]) -> None:
        self._file = tempfile.TemporaryFile(prefix="commitlog-", buffering=_BUFFER_BYTES)  # noqa: SIM115 - closed by close()
        self._relations: list[R] = []
        self._numbers: dict[int, int] = {}
        for entry in entries:
            self.append(entry)

    @property
    def relations(self) -> list[R]:
        """Every relation that an entry named, once."""
        return list(self._relations)

    def append(self, entry: tuple[R, bytes]) -> None:
        """Add one entry at the end.

        Raises:
            LogUnwritable: There is no room for it.
        """
        relation, data = entry
        number = self._numbers.get(id(relation))
        if number is None:
            number = self._numbers[id(relation)] = len(self._relations)
            self._relations.append(relation)
        try:
            self._file.write(_ENTRY.pack(number, len(data)) + data)
        except OSError as exc:
            raise _no_room(exc) from exc

    def __iter__(self) -> Iterator[tuple[R, bytes]]:
        """The entries in order.

        Raises:
            LogUnwritable: There is no room for the last of them.
        """
        try:
            self._file.seek(0)  # writes what is still buffered
        except OSError as exc:
            raise _no_room(exc) from exc
        while head := self._file.read(_ENTRY.size):
            number, length = _ENTRY.unpack(head)
            yield self._relations[number], self._file.read(length)

    def close(self) -> None:
        """Give the disk space back."""
        # Closing writes what is still buffered. Nobody reads it any more, so it need not find room.
        with contextlib.suppress(OSError):
            self._file.close()

    def __del__(self) -> None:
        # An attempt that ends by an error drops its transactions wherever they are.
        if hasattr(self, "_file"):
            self.close()


def _no_room(exc: OSError) -> LogUnwritable:
    return LogUnwritable(
        f"a large transaction does not fit into {tempfile.gettempdir()}: {exc.strerror}",
        hint="make room there, or let TMPDIR name a larger folder",
    )
