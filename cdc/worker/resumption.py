"""What going on after a gap needs of a source, whatever its engine."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

from ...schemas.errors import HistoryLost
from ..log.state import LogState


class Resumption(ABC):
    """What going on is on a source. To be closed.

    Attributes:
        engine: The source's.
    """

    engine: str

    @abstractmethod
    def close(self) -> None:
        """Close all connections."""

    @abstractmethod
    def lost(self, state: LogState) -> HistoryLost | None:
        """How the source has lost history that the log needs; None where nothing is seen.

        Raises:
            Refused: It is not ready.
            Unreachable: It does not answer.
        """

    @abstractmethod
    def make_ready(self) -> Iterator[str]:
        """Make what a worker needs there; a line for each thing done. Raises CommitLogError."""

    @abstractmethod
    def resumed_at(self, state: LogState, *, lost: bool) -> str:
        """Where the log goes on."""

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What the log says of the source from there on."""
