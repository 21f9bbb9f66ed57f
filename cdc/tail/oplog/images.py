"""Pre-images, asked for as they are needed: many at once, and never more than fit."""

from collections.abc import Callable, Mapping
from typing import Final

ImageKey = tuple[int, int]
"""The entry's timestamp, the operation's place in the entry."""

PreImages = Callable[[bytes, int, int], Mapping[ImageKey, bytes]]
"""Asks for those of a collection, by its UUID, of all entries from one timestamp up to another, both included."""

_COUNT_MIN: Final = 16
_COUNT_MAX: Final = 16_384


class Images:
    """The pre-images of the entries at which the reader stands.

    Args:
        ask: Gets them.
        bytes_max: About how many bytes of them to hold.
    """

    def __init__(self, ask: PreImages, bytes_max: int) -> None:
        self.count = _COUNT_MIN
        """Of how many entries to ask for at once."""
        self._ask = ask
        self._bytes_max = bytes_max
        self.held: dict[bytes, tuple[int, Mapping[ImageKey, bytes]]] = {}
        """By collection: up to which timestamp there are all that there are, and they."""

    def get(self, uuid: bytes, at: int, place: int, end: Callable[[], int]) -> bytes | None:
        """One of them.

        Args:
            uuid: The collection's.
            at: The entry's timestamp.
            place: The operation's place in it.
            end: Up to which entry to ask, where it is not held; those before are forgotten then.
        """
        until, held = self.held.get(uuid, (-1, {}))
        if at > until:
            until = max(at, end())
            held = self._ask(uuid, at, until)
            self.held = {each: (last, images) for each, (last, images) in self.held.items() if last > at}
            self.held[uuid] = until, held
            self._adjust(held)
        return held.get((at, place))

    def _adjust(self, held: Mapping[ImageKey, bytes]) -> None:
        size = sum(map(len, held.values()))
        if size > self._bytes_max // 2:
            self.count = max(1, self.count // 4)
        elif size < self._bytes_max // 8:
            self.count = min(_COUNT_MAX, self.count * 4)
