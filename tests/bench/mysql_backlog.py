"""A backlog in the binlog of a MySQL or MariaDB, to be drained again and again from the same position."""

from collections.abc import Callable
from dataclasses import dataclass

import mysql_workload
import workload
from placed_backlog import PlacedBacklog

from commitlog.cdc.servers.binlog import connect

SERVER_SETTINGS = {
    "innodb-buffer-pool-size": "512M",
    # One file holds a backlog, and none is purged.
    "max-binlog-size": "1G",
    "binlog-expire-logs-seconds": "0",
}
"""Of a server on which a backlog is drained."""

_DURABLE = ("sync_binlog", "innodb_flush_log_at_trx_commit")


@dataclass(slots=True)
class BinlogBacklog(PlacedBacklog):
    """What is drained in one case; a position is as `binlog.000012:4567`."""

    as_client: Callable[..., int] = mysql_workload.write_as_client
    executed: str = ""
    """The GTIDs of all that is before it."""

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
        PlacedBacklog.write(self)
        for name in _DURABLE:
            self.server.query(f"SET GLOBAL {name} = 1")

    def written(self) -> None:
        """End a file of the log."""
        self.server.query("FLUSH BINARY LOGS")

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
