"""A connection to a fork's database that speaks SQL."""

from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Self

from .store import Rejected, Undone


class SqlConnection(ABC):
    """What both engines do alike."""

    @abstractmethod
    def close(self) -> None:
        """End the connection."""

    @abstractmethod
    def execute(self, query: str, parameters: Sequence[object] = ()) -> int:
        """Run one statement and give the number of rows it found to change."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def savepoint(self) -> Generator[None, None, None]:
        """Undo what is done in it where it ends with Rejected or Undone. After any other error the whole transaction is undone anyway."""
        self.execute("SAVEPOINT part")
        try:
            yield
        except (Rejected, Undone):
            self.execute("ROLLBACK TO SAVEPOINT part")
            self.execute("RELEASE SAVEPOINT part")
            raise
        self.execute("RELEASE SAVEPOINT part")
