"""F1 to F6: the worker is killed with SIGKILL wherever it hurts most; the next one goes on, and nothing is lost and nothing twice."""

import random

import pytest

from fixtures.load import load, open_shop
from fixtures.worker import History, Source

pytestmark = pytest.mark.timeout(150)  # a busy machine is no finding


@pytest.fixture
def shop(source: Source) -> Source:
    return open_shop(source)


def check(source: Source, **settings: object) -> History:
    """The next worker brings the log to a whole end."""
    run = source.run(**settings)
    run.until_caught_up()
    run.terminate()
    return source.check()


@pytest.mark.parametrize(
    "failpoint",
    [
        pytest.param("after_read", id="F1-after-read"),
        pytest.param("before_append", id="F2-before-append"),
        pytest.param("after_append", id="F3-after-append-before-acknowledge"),
    ],
)
def test_a_worker_killed_at_a_step_leaves_each_transaction_once(shop: Source, failpoint: str) -> None:
    with load(shop):
        for passage in (1, 2, 40):
            shop.run(f"{failpoint}:kill:{passage}").until_killed()

    check(shop)


@pytest.mark.parametrize("kills", [3, pytest.param(40, marks=[pytest.mark.full, pytest.mark.timeout(600)])])
def test_f4_a_worker_killed_at_any_moment_under_load_leaves_each_transaction_once(shop: Source, kills: int) -> None:
    """Every second worker is without the compiled part, and goes on in the log of the one before."""
    rng = random.Random(kills)
    with load(shop) as writers:
        for number in range(kills):
            pure = "1" if number % 2 else ""
            run = shop.run(pure=pure, limits__part_bytes=600, limits__flush_bytes=2000).streaming()
            goal = writers.done + rng.randrange(300)
            run.until(lambda goal=goal: writers.done >= goal, "more transactions")
            run.kill()

    check(shop)


def test_f5_a_worker_killed_between_parts_voids_them_and_writes_the_commit_whole(shop: Source) -> None:
    parts = {"limits__part_bytes": 400, "limits__flush_bytes": 1, "limits__flush_ms": 0}
    run = shop.run(**parts).streaming()
    shop.execute("INSERT INTO orders SELECT n, 'first', n FROM generate_series(1, 50) n")
    run.until_marked()
    run.kill()

    for passage in (1, 3, 9):
        shop.execute(f"INSERT INTO notes SELECT 'passage {passage}', n, repeat('x', 90) FROM generate_series(1, 80) n")
        shop.run(f"between_parts:kill:{passage}", **parts).until_killed()

    history = check(shop)
    # A part is durable a moment after it was made, so the last ones may not have been.
    sizes = [header["void"]["to"] - header["void"]["from"] + 1 for header, _ in history.of_kind("void")]
    assert max(sizes) > 1
    assert all(size <= 9 for size in sizes)


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_f6_a_worker_killed_in_a_snapshot_chunk_goes_on_after_the_last_whole_one(source: Source, busy: bool) -> None:
    source.execute(
        "CREATE TABLE orders (id int PRIMARY KEY, status text, total bigint)",
        "CREATE TABLE notes (who text, n int, body text, PRIMARY KEY (who, n))",
        "CREATE TABLE hidden (id int)",
        "INSERT INTO orders SELECT -n, 'old', n FROM generate_series(1, 90) n",
        "INSERT INTO notes SELECT 'w' || n % 3, -n, 'old' FROM generate_series(1, 45) n",
    )
    source.map("Order", "orders")
    source.map("Note", "notes", key=("who", "n"))
    source.setup()

    with load(source, writers=3 if busy else 0):
        for passage in (1, 3, 4):
            source.run(f"in_snapshot_chunk:kill:{passage}", limits__snapshot_rows=10).until_killed()

    history = check(source, limits__snapshot_rows=200)
    chunks = [items[1] for _, items in history.of_kind("snapshot") if items[1]["entity"] == "Order"]
    assert [chunk["from"] for chunk in chunks] == [None] + [chunk["to"] for chunk in chunks[:-1]]
    assert len({chunk["snapshot"] for chunk in chunks}) == 1
