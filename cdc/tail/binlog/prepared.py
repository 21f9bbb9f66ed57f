"""XA transactions between XA PREPARE and XA COMMIT: their rows stand in the binlog before it is known whether they hold."""

from collections.abc import Mapping
from types import MappingProxyType

from ....schemas.errors import DecodeError
from .group import Group


class Prepared:
    """The groups that were prepared and neither committed nor rolled back, by the id of their XA transaction."""

    def __init__(self) -> None:
        self._groups: dict[str, Group] = {}

    @property
    def positions(self) -> Mapping[str, int]:
        """Where each group begins."""
        return MappingProxyType({xa_id: group.position for xa_id, group in self._groups.items()})

    def hold(self, xa_id: str, group: Group) -> None:
        """Keep a group until its transaction is decided.

        Raises:
            DecodeError: Another one of the same id is held.
        """
        if xa_id in self._groups:
            raise DecodeError(f"XA transaction {xa_id} is prepared a second time")
        self._groups[xa_id] = group

    def take(self, xa_id: str) -> Group | None:
        """The group of a transaction that is decided now."""
        return self._groups.pop(xa_id, None)

    def close(self) -> None:
        """Drop them all."""
        for group in self._groups.values():
            group.close()
        self._groups.clear()
