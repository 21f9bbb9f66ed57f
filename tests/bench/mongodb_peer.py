"""The peer on MongoDB: Debezium's engine from a time that is given, with the consumer and the settings of `peer`."""

import peer
import workload
from mongodb_backlog import OplogBacklog

SETTINGS = {
    "connector.class": "io.debezium.connector.mongodb.MongoDbConnector",
    "snapshot.mode": "no_data",
    "provide.transaction.metadata": "true",
    "tombstones.on.delete": "false",
    "offset.storage": "org.apache.kafka.connect.storage.MemoryOffsetBackingStore",
    "converter.schemas.enable": "false",
    "max.batch.size": "2048",
    "max.queue.size": "8192",
    "poll.interval.ms": "10",
    # What goes wrong ends it, instead of being tried again for ever.
    "errors.max.retries": "0",
}
"""As fast as the settings of `peer`, for the same reasons. The stamp of each request comes as an event of its own."""

IMAGES = {
    "capture.mode": "change_streams_update_full_with_pre_image",
    "capture.mode.full.update.type": "post_image",
}
"""Documents as they were before and after, which is what we record, too."""

DIFFS = {"capture.mode": "change_streams"}
"""Of an update what changed, and of a delete the key: less than we record, and the least that it has to do."""


class MongoDebezium(peer.Debezium):
    """Debezium's engine with the connector for MongoDB. Raises what `peer.Debezium` raises."""

    capture = IMAGES

    def _settings(self, backlog: OplogBacklog, slot: str) -> dict[str, str]:
        seconds, _, increment = slot.partition(".")
        return {
            "name": peer.PREFIX,
            "topic.prefix": peer.PREFIX,
            "mongodb.connection.string": backlog.server.url,
            "collection.include.list": f"{backlog.database}.{workload.TABLE},commitlog.stamps",
            # A timestamp of MongoDB, as a number.
            "capture.start.op.time": str(int(seconds) << 32 | int(increment) + 1),
            **SETTINGS,
            **self.capture,
        }

    def _topic(self, backlog: OplogBacklog) -> str:
        return f"{peer.PREFIX}.{backlog.database}.{workload.TABLE}"


class MongoDebeziumDiffs(MongoDebezium):
    """The same without images."""

    capture = DIFFS
