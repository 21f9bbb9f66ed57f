"""A backlog in the oplog of a MongoDB, to be drained again and again from the same position."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import bson
import mongodb_workload
import workload
from backlog import LAST, WARM
from worker import SCHEMA

from commitlog.cdc.servers.mongodb import MongoServer, connect

SERVER_SETTINGS = {"wiredTigerCacheSizeGB": "1", "oplogSize": "8192"}
"""Of a server on which a backlog is drained: the oplog holds all backlogs of a run."""

DOCUMENTS = SCHEMA.replace("key: [id]", "key: [_id]").replace("      id:", "      _id:")
"""The app schema of `worker`, with the key of documents."""


@dataclass(slots=True)
class OplogBacklog:
    """What is drained in one case.

    Args:
        server: Where it is.
        database: The name of its own database.
        rows_per_transaction: Documents that one request changes.
        warmup_rows: The documents before the clock starts.
        rows: The documents that are timed.
        as_client: Who writes, of `mongodb_workload`.
        begin: Called at the position before the first document, by readers that must have been there.
    """

    server: MongoServer
    database: str
    rows_per_transaction: int
    warmup_rows: int
    rows: int
    as_client: Callable[..., int] = mongodb_workload.write_as_client
    begin: Callable[["OplogBacklog"], None] = lambda _: None
    start: str = ""
    """The position before the first document of the warm-up, as `1763848000.5`."""

    @property
    def url(self) -> str:
        """Of the database, as root."""
        return self.server.database_url(self.database)

    @property
    def schema(self) -> str:
        """The app schema."""
        return DOCUMENTS.replace(f"public.{workload.TABLE}", f"{self.database}.{workload.TABLE}")

    def create(self) -> None:
        """Make the collection; everything is written behind the position of then."""
        with connect(self.url) as client:
            mongodb_workload.create(client.get_default_database())
        self.start = self.end()
        self.begin(self)

    def write(self) -> None:
        """Write warm-up and backlog, and let the server settle."""
        for phase, (rows, marker) in enumerate(((self.warmup_rows, WARM), (self.rows, LAST)), 1):
            workload.write(
                self.url,
                rows=rows,
                rows_per_transaction=self.rows_per_transaction,
                phase=phase,
                marker=marker,
                as_client=self.as_client,
            )
        # What the server would otherwise do in the middle of somebody's turn.
        self.server.command("fsync")

    def copy_slot(self, name: str) -> str:
        """Where a reader starts: the position before the first document of the warm-up, the same for all."""
        return self.start

    def drop_slot(self, slot: str) -> None:
        """The server keeps nothing for a reader."""

    def end(self) -> str:
        """The position of the oplog's last entry that a majority has."""
        with connect(self.url) as client:
            status = client.admin.command("replSetGetStatus")
        stamp = status["optimes"]["readConcernMajorityOpTime"]["ts"]
        return f"{stamp.time}.{stamp.inc}"

    def row_bytes(self) -> int:
        """The mean length of a document."""
        with connect(self.url) as client:
            found: list[dict[str, Any]] = list(client.get_default_database()[workload.TABLE].find(limit=1000))
        return sum(len(bson.encode(document)) for document in found) // len(found)

    def drop(self) -> None:
        """Drop the database."""
        self.server.drop_database(self.database)
