"""A transaction far above what memory should hold: in parts, in order, whole, once, and in little memory."""

from typing import Any

import pytest

from commitlog.cdc.log.reader import Reader
from fixtures.worker import Run, Source

pytestmark = pytest.mark.timeout(150)  # a busy machine is no finding

ROWS = 100_000
MILLION = 1_000_000
MEMORY_KB = 300_000
SMALL = {"limits__spill_bytes": 2 << 20, "limits__part_bytes": 4 << 20}
"""So that a tenth of a million rows, too, is spilled to disk and comes in several parts."""

COVERED = {"limits__coverage_s": 0.3}
"""So that WAL after the last commit is acknowledged soon, too."""

TABLE = (
    "CREATE TABLE big (id int PRIMARY KEY, number bigint, name text, price numeric(12,2), at timestamptz, ok boolean,"
    " code text, body text, kind smallint, note text)"
)
VALUES = (
    "n, n * 1000000007::bigint, 'name ' || n, n * 1.25, timestamptz '2026-11-22' + n * interval '1 second', n % 2 = 0,"
    " md5(n::text), repeat(md5((n + 1)::text), 4), n % 100, NULL"
)


@pytest.fixture
def large(source: Source) -> Source:
    source.execute(TABLE)
    source.map("Big", "big")
    return source.setup()


def insert(source: Source, last: int) -> None:
    """Rows 1 to `last` in one transaction."""
    source.execute(f"INSERT INTO big SELECT {VALUES} FROM generate_series(1, {last}) n")


def until_acknowledged(source: Source, run: Run, timeout_s: float) -> None:
    """Wait until the slot stands after everything committed before now: then the log holds it. Needs COVERED."""
    end = source.value("SELECT pg_current_wal_lsn()")
    slot = "SELECT confirmed_flush_lsn >= %s::pg_lsn FROM pg_replication_slots WHERE slot_name = %s"
    run.until(lambda: source.value(slot, end, source.name), "the acknowledgement", timeout_s)


def commits(source: Source) -> list[list[dict[str, Any]]]:
    """The `part` of every record of each attempt at the large transaction, whose rows must be in order from 1 on.

    Read record by record: a million rows are too much to hold here, too.
    """
    found: list[list[dict[str, Any]]] = []
    ids: set[str] = set()
    expected = 1
    for record in Reader(source.location).records():
        items = record.items()[2:] if record.kind == "commit" else []
        if not items or items[0]["entity"] != "Big":
            continue
        part = record.header["part"]
        if part["n"] == 0:
            found.append([])
            expected = 1
        assert [item["after"]["id"] for item in items] == list(range(expected, expected + len(items)))
        expected += len(items)
        found[-1].append(part)
        ids.add(record.header["id"])
    assert len(ids) == 1
    assert expected == source.value("SELECT count(*) FROM big") + 1
    return found


def is_whole(parts: list[dict[str, Any]]) -> bool:
    return parts == [{"n": n, "last": n == len(parts) - 1} for n in range(len(parts))]


@pytest.mark.parametrize(
    ("rows", "settings"),
    [
        (ROWS, SMALL),
        pytest.param(MILLION, {}, marks=[pytest.mark.full, pytest.mark.timeout(900)]),
    ],
)
def test_a_large_transaction_passes_in_parts_and_in_little_memory(
    large: Source, rows: int, settings: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    run = large.run(**settings, **COVERED).streaming()
    run.until_caught_up()
    insert(large, rows)
    until_acknowledged(large, run, rows / 3000 + 30)
    peak_kb = run.peak_kb
    run.terminate()

    with capsys.disabled():
        print(f" [{rows:,} rows in one transaction: the worker held {peak_kb / 1000:.0f} MB at most] ", end="")
    (parts,) = commits(large)
    assert len(parts) > 3
    assert is_whole(parts)
    large.verify()
    assert peak_kb < MEMORY_KB


def test_a_worker_killed_between_parts_of_a_large_transaction_voids_them_and_writes_it_whole(large: Source) -> None:
    small = {"limits__spill_bytes": 1 << 20, "limits__part_bytes": 1 << 20}
    run = large.run("between_parts:kill:4", **small, limits__flush_bytes=1, limits__flush_ms=0).streaming()
    insert(large, ROWS // 4)
    run.until_killed()

    run = large.run(**small, **COVERED)
    run.until_snapshots()
    until_acknowledged(large, run, 60)
    run.terminate()

    voided, whole = commits(large)
    assert not is_whole(voided)
    assert is_whole(whole)
    (void,) = [
        header["void"] for record in Reader(large.location).records() if (header := record.header)["kind"] == "void"
    ]
    assert void["to"] - void["from"] + 1 == len(voided)
    large.verify()
