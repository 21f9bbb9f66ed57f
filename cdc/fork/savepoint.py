"""A part of a transaction that can be undone, where the database speaks SQL."""

from collections.abc import Generator
from contextlib import contextmanager

from .sql_memory import Database
from .store import Rejected, Undone


@contextmanager
def savepoint(database: Database) -> Generator[None, None, None]:
    """Undo what is done in it where it ends with Rejected or Undone. After any other error the whole transaction is undone anyway."""
    database.execute("SAVEPOINT part")
    try:
        yield
    except (Rejected, Undone):
        database.execute("ROLLBACK TO SAVEPOINT part")
        database.execute("RELEASE SAVEPOINT part")
        raise
    database.execute("RELEASE SAVEPOINT part")
