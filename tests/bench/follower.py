"""The second process: reads a log while the worker writes it, by the reader that everyone uses.

    follower.py LOG count WARMUP ROWS    the seconds from the first row after the warm-up to the last
    follower.py LOG arrivals ROWS        when each inserted row was read, by the monotonic clock all processes share
    follower.py LOG marks ROWS…          when so many rows had been read, in seconds by the same clock

Prints `ready` when it waits for the log, and one line of JSON in the end.
"""

import json
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from commitlog.cdc.log.home import LogLocation, log_exists, open_reader, parse_location
from commitlog.cdc.log.reader import items_of
from commitlog.schemas.record import Record

_LOG_TIMEOUT_S = 60.0
_POLL_S = 0.005
_NOT_CHANGES = 2
"""The first two items of a commit are `by` and `meta`."""


def main(log: str, mode: str, *numbers: str) -> None:
    """Follow the log until all rows were read, and say what came of it."""
    commits = (record for record in _records(parse_location(log)) if record.kind == "commit")
    given = [int(number) for number in numbers]
    if mode == "count":
        said: dict[str, Any] = count(commits, *given)
    elif mode == "marks":
        said = marks(commits, given)
    else:
        said = arrivals(commits, *given)
    print(json.dumps(said), flush=True)


def count(commits: Iterator[Record], warmup: int, rows: int) -> dict[str, float]:
    """Time `rows` rows, from the first after `warmup` rows to the last.

    Raises:
        ValueError: The last commit is not whole: it names no user, or not every column.
    """
    seen, started = 0, 0.0
    for record in commits:
        seen += record.header["tree"]["count"] - _NOT_CHANGES
        if not started and seen > warmup:
            started = time.monotonic()
        if seen >= warmup + rows:
            seconds = time.monotonic() - started
            _check(record)
            return {"rows": seen - warmup, "seconds": seconds}
    raise ValueError("the log ended")


def _check(record: Record) -> None:
    """See that the work was done: the tag is in the commit, and all of the row."""
    by, _, change, *_ = items_of(record)
    if not by["user"].startswith("user-") or len(change["after"]) != 10:
        raise ValueError(f"record {record.seq} lacks the user or a column")


def marks(commits: Iterator[Record], counts: list[int]) -> dict[str, float]:
    """When each of `counts` rows, ascending, had been read."""
    read: dict[str, float] = {}
    seen = 0
    for record in commits:
        seen += record.header["tree"]["count"] - _NOT_CHANGES
        while seen >= counts[len(read)]:
            read[str(counts[len(read)])] = time.monotonic()
            if len(read) == len(counts):
                return read
    raise ValueError("the log ended")


def arrivals(commits: Iterator[Record], rows: int) -> dict[str, int]:
    """When each of `rows` inserted rows was read: its id and nanoseconds."""
    read: dict[str, int] = {}
    for record in commits:
        now = time.monotonic_ns()
        for change in items_of(record)[_NOT_CHANGES:]:
            read[str(change["key"]["id"])] = now
        if len(read) >= rows:
            return read
    raise ValueError("the log ended")


def _records(location: LogLocation) -> Iterator[Record]:
    deadline = time.monotonic() + _LOG_TIMEOUT_S
    print("ready", flush=True)
    while not log_exists(location):
        if time.monotonic() > deadline:
            raise TimeoutError(f"there is no log {location} after {_LOG_TIMEOUT_S:.0f} s")
        time.sleep(_POLL_S)
    return open_reader(location).follow(stop=threading.Event())


if __name__ == "__main__":
    main(*sys.argv[1:])
