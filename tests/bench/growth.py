"""`make bench-growth`: does the worker stay as fast, and as small, as what it reads grows?

Rows a second and peak memory over transaction sizes, numbers of tables, and the length of the log, each with one commitlog run
on one local PostgreSQL; rows are counted by a second process that reads the log. At a length of the log it is the rows that come next.
The last line of the output is JSON.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import psycopg
import worker
import workload
from backlog import SERVER_SETTINGS
from drained import DRAIN_TIMEOUT_S

from commitlog.cdc.servers.local import PostgresServer

_CACHE = Path(__file__).parents[2] / ".cache" / "bench"
_SIZES = (1, 10, 100, 1_000, 10_000, 100_000)
_TABLES = (1, 10, 100, 1_000)
_ROWS_PER_TRANSACTION = 10
_WARMUP = 10_000

_WRITE = """\
DO $$
DECLARE
    number bigint := {first};
BEGIN
    FOR transaction IN 1..{transactions} LOOP
        EXECUTE format('INSERT INTO grown_%s SELECT %s + n, n, repeat(''x'', 200) FROM generate_series(1, {rows}) n', transaction % {tables}, number);
        number := number + {rows};
        COMMIT;
    END LOOP;
END $$"""


@dataclass(frozen=True, slots=True)
class Point:
    """One measurement.

    Args:
        over: What grows: `rows_per_tx`, `tables` or `log_rows`.
        at: How large it is.
        rows_s: Rows a second, where a reader reads them.
        rss_mb: The worker's peak so far (VmHWM).
    """

    over: str
    at: int
    rows_s: float
    rss_mb: float


def main() -> None:
    """Measure, and print a table and the line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000, help="rows of each point (200000)")
    parser.add_argument("--length", type=int, default=1_000_000, help="rows of the longest log (1000000)")
    arguments = parser.parse_args()
    _CACHE.mkdir(parents=True, exist_ok=True)
    points: list[Point] = []
    print(f"{'over':<14}{'at':>12}{'rows/s':>12}{'peak MB':>9}{'load':>7}")
    with tempfile.TemporaryDirectory(dir=_CACHE) as name, PostgresServer.start(settings=SERVER_SETTINGS) as server:
        for point in _points(server, Path(name), arguments.rows, arguments.length):
            points.append(point)
            print(
                f"{point.over:<14}{point.at:>12,}{point.rows_s:>12,.0f}{point.rss_mb:>9.0f}{os.getloadavg()[0]:>7.1f}"
            )
    print(json.dumps({"bench": "growth", "points": [asdict(point) for point in points]}, separators=(",", ":")))


def _points(server: PostgresServer, folder: Path, rows: int, length: int) -> Iterator[Point]:
    for size in _SIZES:
        window = {size: (0, max(rows, 2 * size))}
        yield from _drain(server, folder / f"size-{size}", "rows_per_tx", window, size=size)
    for tables in _TABLES:
        yield from _drain(server, folder / f"tables-{tables}", "tables", {tables: (0, rows)}, tables=tables)
    lengths = [10**exponent for exponent in range(4, 9) if 10**exponent <= length]
    yield from _drain(
        server, folder / "length", "log_rows", {at: (at - _WARMUP, at - _WARMUP + rows) for at in lengths}
    )


def _drain(
    server: PostgresServer,
    folder: Path,
    over: str,
    windows: dict[int, tuple[int, int]],
    *,
    size: int = _ROWS_PER_TRANSACTION,
    tables: int = 1,
) -> Iterator[Point]:
    """Drain one backlog from a new database; a point for each window, from one row after the warm-up to another, by what it is at."""
    database = f"grown_{over}_{next(iter(windows))}"
    server.create_database(database)
    url = server.database_url(database)
    # As many as touch every table, so that what happens once per table is over when the clock starts.
    first = max(_WARMUP, tables * size)
    last = max(end for _, end in windows.values())
    with psycopg.connect(url, autocommit=True) as connection:
        for number in range(tables):
            connection.execute(f"CREATE TABLE grown_{number} (id bigint PRIMARY KEY, n integer, note text)")
            connection.execute(f"ALTER TABLE grown_{number} REPLICA IDENTITY FULL")
        connection.execute(f"CREATE PUBLICATION {workload.PUBLICATION} FOR ALL TABLES")
        connection.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (database,))
        for begin, count in ((0, first), (first, last)):
            connection.execute(_WRITE.format(first=begin, transactions=-(-count // size), rows=size, tables=tables))
    running = worker.Worker(url, slot=database, folder=folder, schema=_schema(tables))
    marks = sorted({first + mark for window in windows.values() for mark in window})
    with worker.follower(running, "marks", *map(str, marks)) as follows, running:
        seconds = json.loads(follows.line("{", DRAIN_TIMEOUT_S, check=running.check))
        rss_mb = running.spent().rss_mb
    for at, (begin, end) in windows.items():
        spent = seconds[str(first + end)] - seconds[str(first + begin)]
        yield Point(over, at, round((end - begin) / spent), round(rss_mb))
    server.drop_database(database)


def _schema(tables: int) -> str:
    entities = "".join(
        f"  Grown{number}:\n    from: public.grown_{number}\n    key: [id]\n    fields:\n"
        "      id: {class: public}\n      n: {class: public}\n      note: {class: public}\n"
        for number in range(tables)
    )
    return f"schema: commitlog.app/v1\napp: growth\ndatabase: bench\ndefault: true\nlicense: CC-BY-4.0\nentities:\n{entities}"


if __name__ == "__main__":
    main()
