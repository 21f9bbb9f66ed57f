"""Columns that upstream begins or ceases to publish: what a fork's owner writes there is a local change as any other."""

from typing import Any

import pytest
from pymongo import MongoClient

from fixtures.fork_log import Fork, MadeLog, column

ID = column("id", "int32", nullable=False)
pytestmark = pytest.mark.parametrize("each_database", ["postgresql", "mariadb", "mongodb"], indirect=True)


@pytest.fixture
def log(made_log: MadeLog) -> MadeLog:
    return made_log


@pytest.fixture
def fork(log: MadeLog, each_database: str) -> Fork:
    return Fork(log, each_database)


def mine(fork: Fork, id_: int, field: str, value: str | None) -> None:
    """What the owner writes into a row."""
    if fork.url.startswith("mongodb"):
        with MongoClient[dict[str, Any]](fork.url) as client:
            client.get_default_database()["order"].update_one({"_id": id_}, {"$set": {field: value}})
    else:
        fork.sql(f'UPDATE public."order" SET {field} = %s WHERE id = %s', value, id_)


def held(fork: Fork) -> dict[int, tuple[str | None, str | None]]:
    """Id to status and channel."""
    if fork.url.startswith("mongodb"):
        with MongoClient[dict[str, Any]](fork.url) as client:
            found = client.get_default_database()["order"].find()
            return {each["_id"]: (each.get("status"), each.get("channel")) for each in found}
    return {row[0]: row[1:] for row in fork.sql('SELECT id, status, channel FROM public."order" ORDER BY id')}


def named(fork: Fork, *, closed: bool = False) -> set[tuple[str, int, str]]:
    return {(c["kind"], c["key"]["id"], c["field"]) for c in fork.conflicts(closed=closed)}


def row(id_: int, status: str = "new", **rest: str | None) -> dict[str, Any]:
    return {"id": id_, "status": status, **rest}


def without_channel(log: MadeLog) -> None:
    log.shape("Order", ID, column("status"))


def with_channel(log: MadeLog) -> None:
    log.shape("Order", ID, column("status"), column("channel"))


def test_what_the_owner_wrote_into_a_new_column_before_it_was_told_is_a_conflict_not_overwritten(
    log: MadeLog, fork: Fork
) -> None:
    without_channel(log)
    log.snapshot("Order", *(row(n) for n in range(1, 7)))
    fork.sync()
    with_channel(log)
    log.snapshot("Order", last=False, name="again")
    fork.sync()
    for number, value in ((2, "mine"), (3, "web"), (4, "mine"), (5, "mine"), (6, "mine")):
        mine(fork, number, "channel", value)
    log.commit(log.update("Order", 5, {"channel": "web"}, {"channel": "app"}))
    told = [row(n, channel="web") for n in (1, 2, 3)]
    # The commit before the chunk had told of 5, and 6 was written anew unseen.
    log.commit(log.insert("Order", row(6, channel="web")))
    log.snapshot("Order", *told, row(4, channel=None), row(5, channel="app"), row(6, channel="web"), name="again")

    fork.sync()

    channels = ["web", "mine", "web", "mine", "mine", "mine"]
    assert held(fork) == {number: ("new", value) for number, value in enumerate(channels, 1)}
    assert named(fork) == {("update/update", n, "channel") for n in (2, 5, 6)}
    assert {(c["base"], c["ours"], c["theirs"]) for c in fork.conflicts() if c["key"] == {"id": 2}} == {
        (None, "mine", "web")
    }


def test_a_delete_of_a_row_whose_value_was_changed_here_is_a_conflict_also_where_its_column_is_not_published_any_more(
    log: MadeLog, fork: Fork
) -> None:
    with_channel(log)
    log.snapshot("Order", *(row(n, channel="web") for n in range(1, 8)))
    fork.sync()
    without_channel(log)
    log.commit(
        log.insert("Order", row(8)),
        log.insert("Order", row(9)),
        log.update("Order", 6, {"status": "new"}, {"status": "x"}),
    )
    log.commit(log.rekey("Order", 7, 17))
    fork.sync()
    for number in (2, 9, 17):
        mine(fork, number, "channel", "mine")
    log.commit(*(log.delete("Order", row(n)) for n in (1, 2, 3, 8, 9, 17)))
    log.commit(log.update("Order", 4, {"status": "new"}, {"status": "y"}), log.delete("Order", row(4, "y")))

    fork.sync()

    assert held(fork) == {
        2: ("new", "mine"),
        5: ("new", "web"),
        6: ("x", "web"),
        **dict.fromkeys((9, 17), ("new", "mine")),
    }
    kept = {("delete/update", n, "") for n in (2, 9, 17)}
    assert named(fork, closed=True) == kept
    shown = {c["key"]["id"]: (c["base"]["channel"], c["ours"]["channel"]) for c in fork.conflicts()}
    assert shown == {2: ("web", "mine"), 9: (None, "mine"), 17: ("web", "mine")}


def test_rows_that_are_gone_when_they_are_told_anew_go_unless_changed_in_a_column_that_is_not_published_any_more(
    log: MadeLog, fork: Fork
) -> None:
    with_channel(log)
    log.snapshot("Order", *(row(n, channel="web") for n in (1, 2, 3, 4)))
    fork.sync()
    without_channel(log)
    log.snapshot("Order", *(row(n) for n in (1, 2, 3, 4)))
    log.commit(log.insert("Order", row(5)), log.insert("Order", row(6)))
    fork.sync()
    mine(fork, 2, "channel", "mine")
    mine(fork, 6, "channel", "mine")
    log.snapshot("Order", row(1), row(5), row(6))
    fork.sync()
    assert held(fork) == {1: ("new", "web"), 2: ("new", "mine"), 5: ("new", None), 6: ("new", "mine")}
    assert named(fork) == {("delete/update", 2, "")}
    log.commit(log.truncate("Order"))
    fork.sync()
    assert held(fork).keys() == {2, 6}
    assert named(fork) == {("delete/update", 2, ""), ("delete/update", 6, "")}


def test_null_that_the_owner_wrote_over_what_upstream_told_is_a_local_change(log: MadeLog, fork: Fork) -> None:
    without_channel(log)
    log.snapshot("Order", row(1), row(2))
    with_channel(log)
    log.commit(log.update("Order", 1, {"channel": "web"}, {"channel": "app"}), log.insert("Order", row(3, channel="a")))
    fork.sync()
    mine(fork, 1, "channel", None)
    mine(fork, 3, "channel", None)
    log.commit(log.update("Order", 1, {"channel": "app"}, {"channel": "shop"}))
    # Nobody has told what this one was.
    log.commit(log.update("Order", 2, {"channel": "web"}, {"channel": "app"}))
    log.commit(log.delete("Order", row(3, channel="a")))

    fork.sync()

    assert held(fork) == {1: ("new", None), 2: ("new", "app"), 3: ("new", None)}
    assert named(fork) == {("update/update", 1, "channel"), ("delete/update", 3, "")}
