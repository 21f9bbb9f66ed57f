"""The peer on MySQL: Debezium's engine from a position that is given, with the consumer and the settings of `peer`."""

import json
from pathlib import Path
from urllib.parse import unquote, urlsplit

import peer
import workload
from mysql_backlog import BinlogBacklog

SETTINGS = {
    "connector.class": "io.debezium.connector.mysql.MySqlConnector",
    "database.server.id": "71001",
    "database.ssl.mode": "disabled",
    # It knows the position, as after a restart, and reads what tables there are from the server.
    "snapshot.mode": "recovery",
    "schema.history.internal": "io.debezium.relational.history.MemorySchemaHistory",
    "include.schema.changes": "false",
    "provide.transaction.metadata": "true",
    "tombstones.on.delete": "false",
    "offset.storage": "DebeziumPeer$GivenOffset",
    "converter.schemas.enable": "false",
    "max.batch.size": "2048",
    "max.queue.size": "8192",
    "poll.interval.ms": "10",
    # What goes wrong ends it, instead of being tried again for ever.
    "errors.max.retries": "0",
}
"""As fast as the settings of `peer`, for the same reasons. The tag of each transaction comes as an event of its own there, and does here."""


class MySqlDebezium(peer.Debezium):
    """Debezium's engine with the connector for MySQL. Raises what `peer.Debezium` raises."""

    def __init__(self, folder: Path, name: str = "debezium", jvm_flags: tuple[str, ...] = peer.JVM_FLAGS) -> None:
        super().__init__(folder, name, jvm_flags)

    def _settings(self, backlog: BinlogBacklog, slot: str) -> dict[str, str]:
        parts = urlsplit(backlog.url)
        database = parts.path.strip("/")
        file, _, offset = slot.rpartition(":")
        return {
            "name": peer.PREFIX,
            "topic.prefix": peer.PREFIX,
            "database.hostname": parts.hostname or "",
            "database.port": str(parts.port),
            "database.user": unquote(parts.username or ""),
            "database.password": unquote(parts.password or ""),
            "table.include.list": f"{database}.{workload.TABLE},commitlog.stamp",
            # As the engine itself would have written them.
            "given.key": json.dumps([peer.PREFIX, {"server": peer.PREFIX}], separators=(",", ":")),
            "given.value": json.dumps(
                {"file": file, "pos": int(offset), "gtids": backlog.executed}, separators=(",", ":")
            ),
            **SETTINGS,
        }

    def _topic(self, backlog: BinlogBacklog) -> str:
        return f"{peer.PREFIX}.{backlog.database}.{workload.TABLE}"
