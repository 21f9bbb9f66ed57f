"""What the server answers to a stamp and to what was sent with it."""
# pyright: reportPrivateUsage=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg import BaseConnection, errors, pq
from psycopg.generators import fetch_many, send

if TYPE_CHECKING:
    from psycopg.abc import PQGen
    from psycopg.pq.abc import PGconn, PGresult

FATAL_ERROR = pq.ExecStatus.FATAL_ERROR
PIPELINE_SYNC = pq.ExecStatus.PIPELINE_SYNC


class StampResult:
    """Stands in a pipeline's queue where psycopg has the cursor of a statement."""

    def __init__(self, conn: BaseConnection[Any]) -> None:
        self._conn = conn

    def _check_results(self, results: list[PGresult]) -> None:
        # After a failed statement the stamp is skipped with the rest; the statement's own error is the one to raise.
        error = first_error(self._conn.pgconn, results)
        if error is not None:
            raise error

    def _set_results(self, results: list[PGresult]) -> None:
        """Nothing is kept of the stamp's position."""


def first_error(pgconn: PGconn, results: list[PGresult]) -> errors.Error | None:
    """Return the first error among some results."""
    for result in results:
        if result.status == FATAL_ERROR:
            return errors.error_from_result(result, encoding=pgconn._encoding)
    return None


def take_gen(pgconn: PGconn) -> PQGen[tuple[list[PGresult], errors.Error | None]]:
    """Send a pipeline of two and a sync; return the first one's results, and the first error of all that follows them.

    What follows are the stamp and the implicit COMMIT, where a deferred constraint may fail.
    """
    pgconn.pipeline_sync()
    yield from send(pgconn)
    first = yield from fetch_many(pgconn)
    error: errors.Error | None = None
    try:
        while (results := (yield from fetch_many(pgconn))) and results[0].status != PIPELINE_SYNC:
            error = error or first_error(pgconn, results)
    except errors.OperationalError as exc:
        # The connection is gone; if the server said why, that is the error.
        error = error or exc
    return first, error
