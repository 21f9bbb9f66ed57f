"""F1 to F6: the worker is killed with SIGKILL wherever it hurts most; the next one goes on, and nothing is lost and nothing twice."""

import random

import pytest

from fixtures.binlog_source import BinlogSource
from fixtures.shops import add_notes, load, open_shop
from fixtures.worker import Source

pytestmark = pytest.mark.timeout(150)  # a busy machine is no finding

FULL = pytest.mark.full
LONG = [FULL, pytest.mark.timeout(600)]
SQL = ("postgresql", "mysql", "mariadb")


@pytest.mark.parametrize("each_database", [*SQL, pytest.param("mongodb", marks=FULL)], indirect=True)
@pytest.mark.parametrize(
    "failpoint",
    [
        pytest.param("after_read", id="F1-after-read"),
        pytest.param("before_append", id="F2-before-append"),
        pytest.param("after_append", id="F3-after-append-before-acknowledge"),
    ],
)
def test_a_worker_killed_at_a_step_leaves_each_transaction_once(each_source: Source, failpoint: str) -> None:
    shop = open_shop(each_source)
    shop.start_log()
    with load(shop):
        for passage in (1, 2, 40):
            shop.run(f"{failpoint}:kill:{passage}").until_killed()

    shop.finish()


@pytest.mark.parametrize("kills", [3, pytest.param(40, marks=LONG)])
def test_f4_a_worker_killed_at_any_moment_under_load_leaves_each_transaction_once(
    each_source: Source, kills: int
) -> None:
    """Every second worker is without the compiled part, and goes on in the log of the one before; a binlog is rotated in between."""
    shop = open_shop(each_source)
    shop.start_log()
    rng = random.Random(kills)
    with load(shop) as writers:
        for number in range(kills):
            pure = "1" if number % 2 else ""
            run = shop.run(pure=pure, limits__part_bytes=600, limits__flush_bytes=2000).streaming()
            writers.more(run, rng.randrange(300))
            if isinstance(shop, BinlogSource):
                shop.execute("FLUSH BINARY LOGS")
            run.kill()

    shop.finish()


def test_f5_a_worker_killed_between_parts_voids_them_and_writes_the_commit_whole(each_source: Source) -> None:
    shop = open_shop(each_source)
    parts = {"limits__part_bytes": 400, "limits__flush_bytes": 1, "limits__flush_ms": 0}
    run = shop.run(**parts).streaming()
    add_notes(shop, 50, who=0)
    run.until_marked()
    run.kill()

    for passage in (1, 3, 9):
        add_notes(shop, 80, who=passage)
        shop.run(f"between_parts:kill:{passage}", **parts).until_killed()

    history = shop.finish()
    # A part is durable a moment after it was made, so the last ones may not have been.
    sizes = [header["void"]["to"] - header["void"]["from"] + 1 for header, _ in history.of_kind("void")]
    assert max(sizes) > 1
    assert all(size <= 9 for size in sizes)


@pytest.mark.parametrize(
    ("each_database", "busy"),
    [("postgresql", False), *((engine, True) for engine in (*SQL, "mongodb"))],
    indirect=["each_database"],
)
def test_f6_a_worker_killed_in_a_snapshot_chunk_goes_on_after_the_last_whole_one(
    each_source: Source, busy: bool
) -> None:
    shop = open_shop(each_source, stocked=True)
    with load(shop, writers=3 if busy else 0):
        for passage in (1, 3, 4):
            shop.run(f"in_snapshot_chunk:kill:{passage}", limits__snapshot_rows=10).until_killed()

    history = shop.finish(limits__snapshot_rows=200)
    chunks = [items[1] for _, items in history.of_kind("snapshot") if items[1]["entity"] == "Order"]
    assert [chunk["from"] for chunk in chunks] == [None] + [chunk["to"] for chunk in chunks[:-1]]
    assert len({chunk["snapshot"] for chunk in chunks}) == 1
