"""Keys that a transaction moves about, and rows that a log tells anew: a fork takes them over, and loses nothing of its own."""

from typing import Any

import pytest

from fixtures.fork_log import Fork, MadeLog, column

ID = column("id", "int32", nullable=False)
ROWS = "SELECT id, who, raw FROM public.place ORDER BY id"
NAMES = ("a", "b", "c", "d")


@pytest.fixture
def log(made_log: MadeLog) -> MadeLog:
    return made_log


def row(number: int, who: str) -> dict[str, Any]:
    return {"id": number, "who": who, "raw": "AP8="}


@pytest.fixture
def places(log: MadeLog, some_database: str) -> Fork:
    """A fork of four places, a to d."""
    fork = Fork(log, some_database)
    log.shape("Place", ID, column("who"), column("raw", "bytes"), table="public.place")
    log.snapshot("Place", *(row(number, who) for number, who in enumerate(NAMES, 1)))
    fork.sync()
    return fork


def held(fork: Fork) -> list[tuple[int, str]]:
    rows = fork.sql(ROWS)
    assert {bytes(raw) for _, _, raw in rows} == {b"\0\xff"}
    return [(number, who) for number, who, _ in rows]


def test_keys_that_all_move_up_in_one_commit_move(log: MadeLog, places: Fork) -> None:
    log.commit(*(log.rekey("Place", n, n + 1) for n in (1, 2, 3, 4)), log.insert("Place", row(1, "new")))
    places.sync()
    assert held(places) == [(1, "new"), (2, "a"), (3, "b"), (4, "c"), (5, "d")]
    assert places.conflicts() == []


def test_a_key_is_free_when_its_row_goes_later_in_the_commit(log: MadeLog, places: Fork) -> None:
    log.commit(
        log.insert("Place", row(2, "new")),
        log.rekey("Place", 1, 3),
        log.delete("Place", row(2, "b")),
        log.rekey("Place", 3, 9),
    )
    places.sync()
    assert held(places) == [(2, "new"), (3, "a"), (4, "d"), (9, "c")]
    assert places.conflicts() == []


def test_rows_exchange_their_keys_also_in_a_ring_and_with_other_changes(log: MadeLog, places: Fork) -> None:
    log.commit(log.rekey("Place", 1, 2), log.rekey("Place", 2, 3, {"who": "b"}, {"who": "B"}), log.rekey("Place", 3, 1))
    log.commit(log.rekey("Place", 1, 4), log.rekey("Place", 4, 1))
    places.sync()
    assert held(places) == [(1, "d"), (2, "a"), (3, "B"), (4, "c")]
    assert places.conflicts() == []
    # What upstream told last is known after that, too: a truncate names no rows.
    log.commit(log.truncate("Place"))
    places.sync()
    assert places.sql(ROWS) == []


def test_a_row_that_was_changed_here_is_not_exchanged_but_a_conflict(log: MadeLog, places: Fork) -> None:
    places.sql("UPDATE public.place SET who = 'mine' WHERE id = 2")
    log.commit(log.rekey("Place", 1, 2), log.rekey("Place", 2, 1, {"who": "b"}, {"who": "B"}))
    places.sync()
    assert held(places) == [(1, "a"), (2, "mine"), (3, "c"), (4, "d")]
    # MySQL looks at who refers to a row first.
    assert {conflict["kind"] for conflict in places.conflicts()} <= {"unique", "foreign key"}
    assert places.conflicts()


def test_rows_that_others_refer_to_are_never_deleted_for_an_exchange(log: MadeLog, places: Fork) -> None:
    places.sql("CREATE TABLE mine (place int, FOREIGN KEY (place) REFERENCES public.place (id) ON DELETE CASCADE)")
    places.sql("INSERT INTO mine VALUES (1)")
    log.commit(log.rekey("Place", 1, 2), log.rekey("Place", 2, 1))
    places.sync()
    assert places.sql("SELECT count(*) FROM mine") == [(1,)]
    # MySQL looks at who refers to a row first.
    assert {conflict["kind"] for conflict in places.conflicts()} <= {"unique", "foreign key"}
    assert places.conflicts()


def test_rows_with_a_column_of_the_owners_are_never_deleted_for_an_exchange(log: MadeLog, places: Fork) -> None:
    places.sql("ALTER TABLE public.place ADD COLUMN mine int")
    places.sql("UPDATE public.place SET mine = id * 10")
    log.commit(log.rekey("Place", 1, 2), log.rekey("Place", 2, 1))
    log.commit(log.rekey("Place", 3, 9))
    places.sync()
    assert places.sql("SELECT who, mine FROM public.place ORDER BY id") == [("a", 10), ("b", 20), ("d", 40), ("c", 30)]
    assert {(kind, key) for kind, key, _ in named(places)} == {("unique", 1), ("unique", 2)}


def test_a_row_of_mine_at_a_key_that_stays_is_a_conflict(log: MadeLog, places: Fork) -> None:
    places.sql("INSERT INTO public.place VALUES (9, 'mine', %s)", b"\0\xff")
    log.commit(log.rekey("Place", 1, 9), log.insert("Place", row(8, "new")))
    log.commit(log.insert("Place", row(10, "later")))
    places.sync()
    assert held(places) == [(1, "a"), (2, "b"), (3, "c"), (4, "d"), (8, "new"), (9, "mine"), (10, "later")]
    # The row that stays, and the one that it is not let in for.
    assert named(places) == {("unique", 1, ""), ("unique", 9, "")}


def named(fork: Fork) -> set[tuple[str, int, str]]:
    return {(conflict["kind"], conflict["key"]["id"], conflict["field"]) for conflict in fork.conflicts()}


def test_a_row_that_was_kept_out_stays_named_when_its_old_key_is_given_again(log: MadeLog, places: Fork) -> None:
    places.sql("INSERT INTO public.place VALUES (9, 'mine', %s)", b"\0\xff")
    log.commit(log.rekey("Place", 1, 9))
    log.commit(log.insert("Place", row(1, "a")))
    places.sync()
    assert held(places) == [(1, "a"), (2, "b"), (3, "c"), (4, "d"), (9, "mine")]
    assert named(places) == {("unique", 9, "")}


def test_a_row_that_was_deleted_here_stays_named_by_its_new_key(log: MadeLog, places: Fork) -> None:
    places.sql("DELETE FROM public.place WHERE id = 1")
    log.commit(log.rekey("Place", 1, 9))
    log.commit(log.insert("Place", row(1, "new")))
    places.sync()
    assert held(places) == [(1, "new"), (2, "b"), (3, "c"), (4, "d")]
    assert named(places) == {("update/delete", 9, "")}


def test_what_upstream_says_of_its_new_row_is_not_done_to_mine(log: MadeLog, places: Fork) -> None:
    for number in (6, 7, 8, 9):
        places.sql(f"INSERT INTO public.place VALUES ({number}, 'mine', %s)", b"\0\xff")
    log.commit(log.insert("Place", row(6, "new")), log.rekey("Place", 6, 16))
    log.commit(log.insert("Place", row(7, "new")), log.delete("Place", row(7, "new")))
    log.commit(log.rekey("Place", 1, 8), log.rekey("Place", 8, 18))
    log.commit(log.rekey("Place", 2, 9), log.delete("Place", row(9, "b")))
    places.sync()
    mine = [(number, "mine") for number in (6, 7, 8, 9)]
    assert held(places) == [(3, "c"), (4, "d"), *mine, (16, "new"), (18, "a")]
    assert places.conflicts() == []


def test_a_new_row_at_the_key_of_one_that_is_kept_out_is_a_conflict(log: MadeLog, places: Fork) -> None:
    places.sql("INSERT INTO public.place VALUES (9, 'mine', %s)", b"\0\xff")
    log.commit(log.rekey("Place", 1, 9), log.insert("Place", row(1, "new")))
    places.sync()
    assert held(places) == [(1, "a"), (2, "b"), (3, "c"), (4, "d"), (9, "mine")]
    assert named(places) == {("unique", 9, ""), ("insert/insert", 1, "who")}


def test_of_rows_that_exchange_their_keys_one_may_be_deleted_here(log: MadeLog, places: Fork) -> None:
    places.sql("DELETE FROM public.place WHERE id = 1")
    log.commit(log.rekey("Place", 1, 2), log.rekey("Place", 2, 1))
    places.sync()
    assert held(places) == [(1, "b"), (3, "c"), (4, "d")]
    assert named(places) == {("update/delete", 2, "")}


def test_of_more_rows_that_exchange_their_keys_those_that_are_here_move_and_those_deleted_here_are_named(
    log: MadeLog, places: Fork
) -> None:
    ring = [log.rekey("Place", n, n % 4 + 1) for n in (1, 2, 3, 4)]
    places.sql("DELETE FROM public.place WHERE id IN (2, 3)")
    log.commit(*ring)
    places.sync()
    assert held(places) == [(1, "d"), (2, "a")]
    assert named(places) == {("update/delete", 3, ""), ("update/delete", 4, "")}
    log.commit(log.rekey("Place", 1, 2), log.rekey("Place", 2, 1))
    places.sync()
    assert held(places) == [(1, "a"), (2, "d")]


def test_a_row_that_goes_to_another_key_and_back_exchanges_nothing_with_mine_there(log: MadeLog, places: Fork) -> None:
    places.sql("INSERT INTO public.place VALUES (9, 'mine', %s)", b"\0\xff")
    log.commit(log.rekey("Place", 1, 9), log.rekey("Place", 9, 1))
    log.commit(log.rekey("Place", 2, 8), log.rekey("Place", 8, 2))
    places.sync()
    assert held(places) == [(1, "a"), (2, "b"), (3, "c"), (4, "d"), (9, "mine")]
    assert places.conflicts() == []


def test_a_key_that_the_owners_column_does_not_take_keeps_its_row_out(log: MadeLog, places: Fork) -> None:
    places.sql(
        f"ALTER TABLE public.place {'MODIFY' if places.in_mysql else 'ALTER'} id {'' if places.in_mysql else 'TYPE'} smallint"
    )
    log.commit(log.rekey("Place", 1, 70000))
    log.commit(log.rekey("Place", 70000, 2), log.rekey("Place", 2, 70000))
    log.commit(log.rekey("Place", 3, 5))
    places.sync()
    assert held(places) == [(1, "a"), (2, "b"), (4, "d"), (5, "c")]
    assert {(kind, key) for kind, key, _ in named(places)} >= {("value", 1), ("value", 70000)}


def test_a_row_of_mine_where_one_comes_that_was_deleted_here_is_a_conflict_unless_it_is_the_same(
    log: MadeLog, places: Fork
) -> None:
    places.sql("DELETE FROM public.place WHERE id = 1")
    places.sql("INSERT INTO public.place VALUES (8, 'mine', %s)", b"\0\xff")
    places.sql("UPDATE public.place SET id = 9 WHERE id = 2")
    log.commit(log.rekey("Place", 1, 8), log.rekey("Place", 2, 9))
    places.sync()
    assert held(places) == [(3, "c"), (4, "d"), (8, "mine"), (9, "b")]
    assert named(places) == {("insert/insert", 8, "who")}


def test_conflicts_go_with_rows_that_exchange_their_keys(log: MadeLog, places: Fork) -> None:
    places.sql("UPDATE public.place SET who = 'mine' WHERE id = 1")
    log.commit(log.update("Place", 1, {"who": "a"}, {"who": "A"}))
    log.commit(log.rekey("Place", 1, 2), log.rekey("Place", 2, 3), log.rekey("Place", 3, 1))
    places.sync()
    assert held(places) == [(1, "c"), (2, "mine"), (3, "b"), (4, "d")]
    assert named(places) == {("update/update", 2, "who")}


def test_an_insert_of_a_row_that_upstream_had_takes_its_place_but_not_that_of_mine(log: MadeLog, places: Fork) -> None:
    places.sql("UPDATE public.place SET who = 'mine' WHERE id = 2")
    log.commit(log.insert("Place", row(1, "again")))
    log.commit(log.insert("Place", row(2, "again")))
    places.sync()
    assert held(places) == [(1, "again"), (2, "mine"), (3, "c"), (4, "d")]
    assert places.conflict()["key"] == {"id": 2}


def anew(log: MadeLog, name: str) -> None:
    """A snapshot begins anew."""
    log.snapshot("Place", last=False, name=name)


def test_between_a_new_beginning_and_its_snapshot_nothing_that_was_told_is_held_against_a_change(
    log: MadeLog, places: Fork
) -> None:
    places.sql("UPDATE public.place SET who = 'mine' WHERE id = 3")
    anew(log, "again")
    log.commit(
        log.insert("Place", row(1, "made anew")),
        log.update("Place", 2, {"who": "rewritten"}, {"who": "written"}),
        log.update("Place", 7, {"who": "x"}, {"who": "never told"}),
        log.overwrite("Place", row(8, "whole")),
        log.delete("Place", row(4, "rewritten, too")),
    )
    log.snapshot("Place", row(1, "made anew"), row(2, "written"), row(3, "rewritten"), name="again", last=False)
    log.snapshot("Place", row(7, "never told"), row(8, "whole"), name="again")
    places.sync()
    assert held(places) == [(1, "made anew"), (2, "written"), (3, "mine"), (7, "never told"), (8, "whole")]
    assert places.conflict()["key"] == {"id": 3}


def test_rows_that_are_not_in_the_new_snapshot_go_unless_changed_here(log: MadeLog, places: Fork) -> None:
    places.sql("UPDATE public.place SET who = 'mine' WHERE id = 3")
    anew(log, "again")
    log.snapshot("Place", row(1, "a"), name="again")
    places.sync()
    assert held(places) == [(1, "a"), (3, "mine")]
    assert [(c["key"], c["kind"]) for c in places.conflicts()] == [({"id": 3}, "delete/update")]


def test_a_row_that_moves_to_where_one_was_before_the_table_was_made_anew_takes_its_place(
    log: MadeLog, places: Fork
) -> None:
    places.sql("UPDATE public.place SET who = 'mine' WHERE id = 4")
    anew(log, "again")
    log.commit(log.insert("Place", row(1, "x")), log.insert("Place", row(7, "y")))
    log.commit(log.rekey("Place", 1, 2), log.rekey("Place", 7, 4))
    log.snapshot("Place", row(2, "x"), row(4, "y"), name="again")
    places.sync()
    assert held(places) == [(2, "x"), (4, "mine"), (7, "y")]
    assert {(c["key"]["id"], c["kind"]) for c in places.conflicts()} >= {(7, "unique")}


def test_what_changes_in_a_row_after_it_took_a_place_from_before_the_table_was_made_anew_is_its_own(
    log: MadeLog, places: Fork
) -> None:
    anew(log, "again")
    log.commit(log.insert("Place", row(7, "y")))
    log.commit(log.rekey("Place", 7, 2), log.update("Place", 2, {"who": "y"}, {"who": "z"}))
    log.snapshot("Place", row(2, "z"), name="again")
    places.sync()
    assert held(places) == [(2, "z")]
    assert places.conflicts(closed=True) == []


def test_what_comes_after_an_exchange_of_keys_in_its_commit_is_meant_for_the_rows_that_came(
    log: MadeLog, places: Fork
) -> None:
    log.commit(
        log.rekey("Place", 1, 2),
        log.rekey("Place", 2, 1),
        log.update("Place", 1, {"who": "b"}, {"who": "B"}),
        log.update("Place", 2, {"who": "a"}, {"who": "A"}),
    )
    places.sync()
    assert held(places) == [(1, "B"), (2, "A"), (3, "c"), (4, "d")]
    assert places.conflicts(closed=True) == []


def test_a_key_that_a_row_is_about_to_leave_is_the_next_ones(log: MadeLog, places: Fork) -> None:
    log.commit(
        log.rekey("Place", 3, 4),
        log.rekey("Place", 1, 3),
        log.update("Place", 3, {"who": "a"}, {"who": "A"}),
        log.rekey("Place", 4, 9),
        log.update("Place", 3, {"who": "A"}, {"who": "AA"}),
    )
    places.sync()
    assert held(places) == [(2, "b"), (3, "AA"), (4, "c"), (9, "d")]
    assert places.conflicts(closed=True) == []


def test_keys_that_all_move_up_over_a_row_that_went_unseen_move(log: MadeLog, places: Fork) -> None:
    # Row 4 is gone, and nobody said so before the rows are told anew.
    anew(log, "renewed")
    log.commit(*(log.rekey("Place", n, n + 1) for n in (1, 2, 3)))
    log.commit(log.update("Place", 3, {"who": "b"}, {"who": "B"}))
    log.snapshot("Place", row(2, "a"), row(3, "B"), row(4, "c"))
    places.sync()
    assert held(places) == [(2, "a"), (3, "B"), (4, "c")]
    assert places.conflicts(closed=True) == []


def test_many_keys_that_move_up_take_their_turns(log: MadeLog, places: Fork) -> None:
    log.commit(*(log.insert("Place", row(n, "n")) for n in range(10, 510)))
    log.commit(*(log.rekey("Place", n, n + 1) for n in range(10, 510)))
    places.sync()
    assert held(places)[4:] == [(n, "n") for n in range(11, 511)]
    assert places.conflicts(closed=True) == []


def test_a_row_that_passes_through_a_key_on_its_way_leaves_it_to_the_one_that_comes_after(
    log: MadeLog, places: Fork
) -> None:
    # b goes through 3 while c waits for a's place there, and a for d's, and d for c's: the three exchange theirs when b is away.
    log.commit(
        log.rekey("Place", 3, 4),
        log.rekey("Place", 2, 3, {"who": "b"}, {"who": "B"}),
        log.rekey("Place", 3, 9, {"who": "B"}, {"who": "BB"}),
        log.rekey("Place", 1, 3),
        log.rekey("Place", 4, 1),
    )
    places.sync()
    assert held(places) == [(1, "d"), (3, "a"), (4, "c"), (9, "BB")]
    assert places.conflicts(closed=True) == []


def test_the_first_that_came_to_a_key_is_the_first_to_be_meant_there(log: MadeLog, places: Fork) -> None:
    log.commit(
        log.rekey("Place", 4, 3),
        log.rekey("Place", 2, 4),
        log.insert("Place", row(2, "new")),
        log.rekey("Place", 3, 2),
        log.update("Place", 2, {"who": "new"}, {"who": "NEW"}),
        log.rekey("Place", 2, 8),
        log.update("Place", 3, {"who": "d"}, {"who": "D"}),
        log.delete("Place", row(1, "a")),
    )
    places.sync()
    assert held(places) == [(2, "c"), (3, "D"), (4, "b"), (8, "NEW")]
    assert places.conflicts(closed=True) == []


def test_a_row_that_comes_and_goes_while_it_waits_leaves_nothing(log: MadeLog, places: Fork) -> None:
    log.commit(
        log.rekey("Place", 1, 2),
        log.rekey("Place", 2, 3),
        log.insert("Place", row(1, "new")),
        log.delete("Place", row(1, "new")),
        log.delete("Place", row(2, "a")),
        log.rekey("Place", 3, 7),
        log.rekey("Place", 3, 2),
    )
    places.sync()
    assert held(places) == [(2, "b"), (4, "d"), (7, "c")]
    assert places.conflicts(closed=True) == []
