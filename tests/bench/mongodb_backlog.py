"""A backlog in the oplog of a MongoDB, to be drained again and again from the same position."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import bson
import mongodb_workload
import workload
from placed_backlog import PlacedBacklog
from worker import SCHEMA

from commitlog.cdc.servers.mongodb import connect

SERVER_SETTINGS = {"wiredTigerCacheSizeGB": "1", "oplogSize": "8192"}
"""Of a server on which a backlog is drained: the oplog holds all backlogs of a run."""

DOCUMENTS = SCHEMA.replace("key: [id]", "key: [_id]").replace("      id:", "      _id:")
"""The app schema of `worker`, with the key of documents."""


@dataclass(slots=True)
class OplogBacklog(PlacedBacklog):
    """What is drained in one case; a position is as `1763848000.5`."""

    app_schema = DOCUMENTS

    as_client: Callable[..., int] = mongodb_workload.write_as_client

    def create(self) -> None:
        """Make the collection; everything is written behind the position of then."""
        with connect(self.url) as client:
            mongodb_workload.create(client.get_default_database())
        self.start = self.end()
        self.begin(self)

    def write(self) -> None:
        """Write warm-up and backlog, and let the server settle."""
        PlacedBacklog.write(self)
        # What the server would otherwise do in the middle of somebody's turn.
        self.server.command("fsync")

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
