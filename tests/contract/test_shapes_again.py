"""Tables that change and become again what they were: the log says so, and a fork goes by the shape that was told last."""

import pytest

from commitlog.schemas.errors import Refused
from fixtures.followed import Followed
from fixtures.midstream import finish, settle, started
from fixtures.worker import Run, Source


@pytest.fixture
def shop(source: Source) -> Source:
    source.execute(
        "CREATE TABLE orders (id int PRIMARY KEY, total int, note varchar(5))", "INSERT INTO orders VALUES (1, 1, 'a')"
    )
    source.map("Order", "orders", fields=("id", "total", "note", "size", "state"))
    return source.setup()


def told(source: Source) -> list[dict[str, str]]:
    """Field to type, of each shape in its turn."""
    return [{c["field"]: c["engine_type"] for c in shape["columns"]} for shape in source.history().shapes("Order")]


def again(source: Source, run: Run, *, restart: bool) -> Run:
    settle(run)
    if not restart:
        return run
    run.terminate()
    return started(source)


@pytest.mark.parametrize("restart", [False, True], ids=["in one go", "over restarts"])
def test_a_type_that_changes_and_comes_back_is_told_again_and_a_fork_follows(
    shop: Source, fork: Followed, restart: bool
) -> None:
    run = started(shop)
    fork.sync()
    shop.execute("ALTER TABLE orders ALTER note TYPE text", "INSERT INTO orders VALUES (2, 2, 'longer than five')")
    run = again(shop, run, restart=restart)
    fork.check_clean()
    shop.execute(
        "UPDATE orders SET note = 'b'",
        "ALTER TABLE orders ALTER note TYPE varchar(5)",
        "INSERT INTO orders VALUES (3, 3, 'c')",
    )
    run = again(shop, run, restart=restart)
    with pytest.raises(Refused, match=r"becomes character varying\(5\) upstream, and is text") as refused:
        fork.sync()
    fork.sql(refused.value.hint.partition(", then")[0])
    fork.check_clean()
    shop.execute("ALTER TABLE orders ALTER note TYPE text", "INSERT INTO orders VALUES (4, 4, 'longer again')")
    run = again(shop, run, restart=restart)
    assert [shape["note"] for shape in told(shop)] == ["character varying(5)", "text"] * 2
    finish(shop, run, fork)


def test_a_fork_that_knows_both_types_widens_again_by_itself_and_one_that_is_made_later_is_never_narrowed(
    shop: Source, fork: Followed, new_database: object
) -> None:
    run = started(shop)
    fork.sync()
    for n, way in enumerate(("bigint", "int", "bigint"), 2):
        shop.execute(f"ALTER TABLE orders ALTER total TYPE {way}", f"INSERT INTO orders VALUES ({n}, {n}, 'x')")
        settle(run)
        if n == 3:
            with pytest.raises(Refused, match="becomes integer") as refused:
                fork.sync()
            fork.sql(refused.value.hint.partition(", then")[0])
        fork.check_clean()
    assert callable(new_database)
    later = Followed(shop, new_database())
    later.check_clean()
    finish(shop, run, fork)


@pytest.mark.parametrize("restart", [False, pytest.param(True, marks=pytest.mark.full)])
def test_columns_that_are_added_dropped_and_renamed_there_and_back(shop: Source, fork: Followed, restart: bool) -> None:
    run = started(shop)
    fork.sync()
    for n in (1, 2):
        for number, statement in enumerate(
            (
                "ALTER TABLE orders ADD size int NOT NULL DEFAULT 7",
                "ALTER TABLE orders RENAME note TO state",
                "ALTER TABLE orders DROP size",
                "ALTER TABLE orders RENAME state TO note",
            )
        ):
            shop.execute(
                statement,
                f"INSERT INTO orders (id, total) VALUES ({10 * n + number}, 1)",
                "UPDATE orders SET total = total + 1",
            )
        run = again(shop, run, restart=restart)
    finish(shop, run, fork)


def test_what_two_builds_publish_in_turns_is_told_once(shop: Source) -> None:
    """A shape that only has fewer fields is no other: of two builds at once each commit would bring a shape record."""
    document = shop.schema(builds=["old"], default=False)
    fields = document["entities"]["Order"]["fields"]  # type: ignore[index]
    del fields["note"]
    fields["total"]["class"] = "personal"
    shop.write_schema(shop.folder / "schemas" / "old.yaml", document)
    run = started(shop)
    for n in range(2, 8):
        build = "old" if n % 2 else "new"
        shop.execute(
            f"BEGIN; INSERT INTO orders VALUES ({n}, {n}, 'x');"
            f""" SELECT pg_logical_emit_message(true, 'commitlog', '{{"v":1,"build":"{build}"}}'); COMMIT"""
        )
    settle(run)
    run.terminate()
    assert [sorted(shape) for shape in told(shop)] == [["id", "note", "total"], ["id", "total"]]
