"""A reader of the log in a process of its own, which notes when it could read each record and what came in it."""

import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

import orjson

from ..log.home import LogLocation, open_reader, parse_location
from ..log.reader import items_of
from .processes import Process, python


@dataclass(frozen=True, slots=True)
class Seen:
    """A commit as the follower read it.

    Args:
        seq: Its seq.
        request: Its request id, or empty.
        rows: Its changes.
        committed: When the source committed it, in seconds since 1970.
        read: When it was read here.
    """

    seq: int
    request: str
    rows: int
    committed: float
    read: float


class Follower:
    """Follows a log from now on, in another process.

    Args:
        location: The log.
        folder: For the process's messages.
    """

    def __init__(self, location: LogLocation, folder: Path) -> None:
        self.seen: list[Seen] = []
        self.requests: Counter[str] = Counter()
        command = python("follower", str(location))
        self.process = Process("the follower", command, log=folder / "follower.log", cwd=folder)
        self._thread = threading.Thread(target=self._read, args=(self.process.take_stdout(),), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the process."""
        self.process.stop()
        self._thread.join()

    def _read(self, stdout: IO[bytes]) -> None:
        with stdout:
            for line in stdout:
                seen = Seen(**orjson.loads(line))
                self.requests[seen.request] += 1
                self.seen.append(seen)


def follow(location: LogLocation) -> None:
    """Print a line of JSON for each commit as soon as it can be read, until the process ends."""
    reader, stop = open_reader(location), threading.Event()
    for record in reader.follow(stop=stop):
        read = time.time()
        if record.kind != "commit":
            continue
        items = items_of(record)
        seen = Seen(
            seq=record.seq,
            request=items[0].get("request", "") if items[0] else "",
            rows=len(items) - 2,
            committed=datetime.fromisoformat(record.header["time"]).timestamp(),
            read=read,
        )
        sys.stdout.buffer.write(orjson.dumps(seen) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    follow(parse_location(sys.argv[1]))
