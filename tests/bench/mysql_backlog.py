"""A backlog in the binlog of a MySQL or MariaDB, to be drained again and again from the same position."""

from collections.abc import Callable
from dataclasses import dataclass

import mysql_workload
import workload
from backlog import LAST, WARM
from worker import SCHEMA

from commitlog.cdc.servers.binlog import BinlogServer, connect

SERVER_SETTINGS = {
    "innodb-buffer-pool-size": "512M",
    # One file holds a backlog, and none is purged.
    "max-binlog-size": "1G",
    "binlog-expire-logs-seconds": "0",
}
"""Of a server on which a backlog is drained."""

_DURABLE = ("sync_binlog", "innodb_flush_log_at_trx_commit")


@dataclass(slots=True)
class BinlogBacklog:
    """What is drained in one case.

    Args:
        server: Where it is.
        database: The name of its own database.
        rows_per_transaction: As it says.
        warmup_rows: The rows before the clock starts.
        rows: The rows that are timed.
        begin: Called at the position before the first row, by readers that must have been there.
    """

    server: BinlogServer
    database: str
    rows_per_transaction: int
    warmup_rows: int
    rows: int
    begin: Callable[["BinlogBacklog"], None] = lambda _: None
    start: str = ""
    """The position before the first row of the warm-up, as `binlog.000012:4567`."""
    executed: str = ""
    """The GTIDs of all that is before it."""

    @property
    def url(self) -> str:
        """Of the database, as root."""
        return self.server.database_url(self.database)

    @property
    def schema(self) -> str:
        """The app schema."""
        return SCHEMA.replace(f"public.{workload.TABLE}", f"{self.database}.{workload.TABLE}")

    def create(self) -> None:
        """Make the database, and a new file behind whose beginning everything is written."""
        self.server.create_database(self.database)
        with connect(self.url) as connection, connection.cursor() as cursor:
            for statement in mysql_workload.SETUP:
                cursor.execute(statement)
        self.server.query("FLUSH BINARY LOGS")
        self.start = self.end()
        executed = "@@gtid_executed" if self.server.product == "mysql" else "@@gtid_binlog_pos"
        self.executed = str(self.server.query(f"SELECT {executed}"))
        self.begin(self)

    def write(self) -> None:
        """Write warm-up and backlog, a file of the log each."""
        for name in _DURABLE:
            # Only who writes a backlog does not wait for the disk.
            self.server.query(f"SET GLOBAL {name} = 0")
        for phase, (rows, marker) in enumerate(((self.warmup_rows, WARM), (self.rows, LAST)), 1):
            workload.write(
                self.url,
                rows=rows,
                rows_per_transaction=self.rows_per_transaction,
                phase=phase,
                marker=marker,
                as_client=mysql_workload.write_as_client,
            )
            self.server.query("FLUSH BINARY LOGS")
        for name in _DURABLE:
            self.server.query(f"SET GLOBAL {name} = 1")

    def copy_slot(self, name: str) -> str:
        """Where a reader starts: the position before the first row of the warm-up, the same for all."""
        return self.start

    def drop_slot(self, slot: str) -> None:
        """The server keeps nothing for a reader."""

    def end(self) -> str:
        """The position of the server's log now."""
        statement = "SHOW BINARY LOG STATUS" if self.server.product == "mysql" else "SHOW MASTER STATUS"
        with connect(self.url) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            row = cursor.fetchone()
        assert row is not None
        return f"{row[0]}:{row[1]}"

    def row_bytes(self) -> int:
        """The mean length of a row as text."""
        columns = ", ".join(workload.COLUMNS)
        return int(
            self.server.query(f"SELECT avg(length(concat_ws(' ', {columns}))) FROM {self.database}.{workload.TABLE}")
        )

    def drop(self) -> None:
        """Drop the database."""
        self.server.drop_database(self.database)
