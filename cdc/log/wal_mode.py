"""SQLite's write-ahead mode, switched on while other processes may be doing the same."""

import time
from typing import Any

import apsw

_PAUSE_S = 0.005


def use_wal(db: Any, busy_ms: int) -> None:
    """Switch a database to write-ahead logging; one that has it already stays as it is.

    The switch needs the file alone for a moment, and SQLite does not wait for that as it waits for other locks.

    Args:
        db: An apsw connection.
        busy_ms: How long to try.

    Raises:
        apsw.BusyError: Somebody held the file all that time.
    """
    deadline = time.monotonic() + busy_ms / 1000
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL").fetchall()
            return
        except apsw.BusyError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE_S)
