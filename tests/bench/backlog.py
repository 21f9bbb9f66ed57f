"""A backlog: changes that wait in the replication log of a database, to be drained again and again from the same place."""

import time
from dataclasses import dataclass
from typing import LiteralString

import psycopg
import workload
from psycopg import sql

from commitlog.cdc.servers.postgres import Server

SERVER_SETTINGS = {
    "shared_buffers": "256MB",
    # No checkpoint in the middle of somebody's turn; fsync stays on.
    "max_wal_size": "16GB",
    "checkpoint_timeout": "1h",
}
"""Of a server on which a backlog is drained."""

WARM = "mark: the warm-up ends here"
LAST = "mark: the backlog ends here"
"""Notes of rows in the last transaction of the warm-up and of the backlog."""

_PRISTINE = "pristine"
_SLOT_FREE_S = 30.0
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Backlog:
    """What is drained in one case.

    Args:
        server: Where it is.
        database: The name of its own database.
        rows_per_transaction: As it says.
        warmup_rows: The rows before the clock starts.
        rows: The rows that are timed.
    """

    server: Server
    database: str
    rows_per_transaction: int
    warmup_rows: int
    rows: int

    @property
    def url(self) -> str:
        """Of the database, as the superuser."""
        return self.server.database_url(self.database)

    def create(self) -> None:
        """Make the database, and the slot behind which everything is written."""
        self.server.create_database(self.database)
        for statement in workload.SETUP:
            self._run(statement)
        self._run("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", self._pristine)

    def write(self) -> None:
        """Write warm-up and backlog, and let the server settle."""
        for phase, (rows, marker) in enumerate(((self.warmup_rows, WARM), (self.rows, LAST)), 1):
            workload.write(
                self.url, rows=rows, rows_per_transaction=self.rows_per_transaction, phase=phase, marker=marker
            )
        # What the server would otherwise do in the middle of somebody's turn.
        self._run(sql.SQL("VACUUM (ANALYZE) {}").format(sql.Identifier(workload.TABLE)))
        self._run("CHECKPOINT")

    def copy_slot(self, name: str) -> str:
        """Make a slot before the first row of the warm-up.

        Returns:
            Its name.
        """
        slot = f"{self.database}_{name}"
        self._run("SELECT pg_copy_logical_replication_slot(%s, %s)", self._pristine, slot)
        return slot

    def drop_slot(self, slot: str) -> None:
        """Drop a slot as soon as the server has noticed that its reader is gone.

        Raises:
            TimeoutError: The slot stays in use.
        """
        deadline = time.monotonic() + _SLOT_FREE_S
        while self._run("SELECT active FROM pg_replication_slots WHERE slot_name = %s", slot) != [(False,)]:
            if time.monotonic() > deadline:
                raise TimeoutError(f"slot {slot} is still in use after {_SLOT_FREE_S:.0f} s")
            time.sleep(_POLL_S)
        self._run("SELECT pg_drop_replication_slot(%s)", slot)

    def end(self) -> str:
        """The position of the server's replication log now, past the last row."""
        return str(self._run("SELECT pg_current_wal_lsn()")[0][0])

    def row_bytes(self) -> int:
        """The mean length of a row as text."""
        return int(str(self._run(f"SELECT avg(length({workload.TABLE}::text))::int FROM {workload.TABLE}")[0][0]))

    def drop(self) -> None:
        """Drop the database and its slots."""
        self.server.drop_database(self.database)

    @property
    def _pristine(self) -> str:
        return f"{self.database}_{_PRISTINE}"

    def _run(self, statement: LiteralString | sql.Composed, *values: object) -> list[tuple[object, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []
