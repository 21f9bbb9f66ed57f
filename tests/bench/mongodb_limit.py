"""The limit on MongoDB: pymongo alone, which reads the same backlog as raw bytes and makes nothing of them.

mongodb_limit.py URL START MODE WARM LAST    reads the oplog, or a change stream of the database, from behind START to the mark LAST

Prints one line of JSON when the last mark was read, then waits until its standard input closes, so that its memory can still be read.
"""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import workload
from backlog import LAST, WARM
from bson.raw_bson import RawBSONDocument
from bson.timestamp import Timestamp
from drained import DRAIN_TIMEOUT_S, Drained, spent
from mongodb_backlog import OplogBacklog
from program import Program
from pymongo import CursorType, MongoClient
from pymongo.read_concern import ReadConcern

OPLOG, STREAM = "oplog", "change stream"

_END_TIMEOUT_S = 30.0


class RawRead:
    """A process that reads with pymongo.

    Args:
        folder: Where its log goes.
        mode: OPLOG (find_raw_batches, tailable, majority) or STREAM (watch, raw documents).
    """

    def __init__(self, folder: Path, mode: str = OPLOG) -> None:
        self.name = f"pymongo, raw {mode}"
        self._folder, self._mode = folder, mode

    def drain(self, backlog: OplogBacklog, slot: str) -> Drained:
        """As `drained.Reader` says; the clock runs from the mark of the warm-up to the mark of the backlog."""
        command = [sys.executable, __file__, backlog.url, slot, self._mode, WARM, LAST]
        with Program(command, self._folder / "limit.log") as program:
            said = json.loads(program.line("{", DRAIN_TIMEOUT_S))
            used = spent(program.pid)
            program.close_input()
            program.wait(_END_TIMEOUT_S)
        return Drained(backlog.rows, said["seconds"], used)


def main(url: str, start: str, mode: str, *marks: str) -> None:
    """Read to the last mark, and say how long it took from the first."""
    seconds, _, increment = start.partition(".")
    after = Timestamp(int(seconds), int(increment))
    wanted = [mark.encode() for mark in marks]
    times: list[float] = []
    with MongoClient[dict[str, Any]](url) as client:
        for data in (_oplog if mode == OPLOG else _stream)(client, after):
            while wanted and wanted[0] in data:
                del wanted[0]
                times.append(time.monotonic())
            if not wanted:
                break
    print(json.dumps({"seconds": times[-1] - times[0]}), flush=True)
    sys.stdin.read()


def _oplog(client: MongoClient[dict[str, Any]], after: Timestamp) -> Iterator[bytes]:
    oplog = client["local"].get_collection("oplog.rs", read_concern=ReadConcern("majority"))
    yield from oplog.find_raw_batches({"ts": {"$gt": after}}, cursor_type=CursorType.TAILABLE_AWAIT)


def _stream(client: MongoClient[dict[str, Any]], after: Timestamp) -> Iterator[bytes]:
    options = client.codec_options.with_options(document_class=RawBSONDocument)
    collection = client.get_default_database().get_collection(workload.TABLE, codec_options=options)
    # The last entry behind the position may be another's, so the stream begins with it.
    with collection.watch(start_at_operation_time=Timestamp(after.time, after.inc + 1)) as stream:
        for event in stream:
            yield event.raw


if __name__ == "__main__":
    main(*sys.argv[1:])
