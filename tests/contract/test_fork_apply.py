"""A fork applies what a log holds, and records where its own database says something else."""

import pytest

from fixtures.fork_log import Fork, MadeLog, column

ID = column("id", "int32", nullable=False)
KEN = {"assurance": 1, "user": "ken", "request": "r-1", "build": "3.2.0"}


@pytest.fixture
def log(made_log: MadeLog) -> MadeLog:
    return made_log


@pytest.fixture
def fork(log: MadeLog, some_database: str) -> Fork:
    return Fork(log, some_database)


@pytest.fixture
def orders(log: MadeLog, fork: Fork) -> Fork:
    """A fork of two orders, whose snapshot is complete."""
    log.shape("Order", ID, column("status"), column("note"))
    log.snapshot("Order", {"id": 1, "status": "new", "note": None}, {"id": 2, "status": "new", "note": "hi"})
    fork.sync()
    return fork


ROWS = 'SELECT id, status, note FROM public."order" ORDER BY id'


def test_inserts_updates_rekeys_and_deletes_arrive(log: MadeLog, orders: Fork) -> None:
    log.commit(log.insert("Order", {"id": 3, "status": "new", "note": "x"}))
    log.commit(
        log.update("Order", 1, {"status": "new"}, {"status": "paid"}),
        log.rekey("Order", 2, 20, {"note": "hi"}, {"note": None}),
    )
    log.commit(log.delete("Order", {"id": 3, "status": "new", "note": "x"}))

    orders.sync()

    assert orders.sql(ROWS) == [(1, "paid", None), (20, "new", None)]
    assert orders.position == log.head.seq
    assert orders.conflicts() == []


def test_changes_of_one_row_keep_their_order_within_a_commit(log: MadeLog, orders: Fork) -> None:
    row = {"id": 3, "status": "a", "note": None}
    log.commit(
        log.insert("Order", row),
        log.update("Order", 3, {"status": "a"}, {"status": "b"}),
        log.update("Order", 3, {"status": "b"}, {"status": "c"}),
        log.delete("Order", {**row, "status": "c"}),
        log.insert("Order", {**row, "status": "d"}),
        log.rekey("Order", 3, 4),
        log.insert("Order", {**row, "status": "e"}),
    )

    orders.sync()

    assert orders.sql(ROWS)[2:] == [(3, "e", None), (4, "d", None)]
    assert orders.conflicts() == []


def test_a_field_changed_on_both_sides_is_a_conflict_and_the_rest_of_the_change_is_applied(
    log: MadeLog, orders: Fork
) -> None:
    orders.sql('UPDATE public."order" SET status = %s WHERE id = 2', "archived")
    seq = log.commit(
        log.update("Order", 2, {"status": "new", "note": "hi"}, {"status": "paid", "note": "ho"}),
        log.update("Order", 1, {"status": "new"}, {"status": "paid"}),
        by=KEN,
    )

    orders.sync()

    assert orders.sql(ROWS) == [(1, "paid", None), (2, "archived", "ho")]
    conflict = orders.conflict()
    assert (conflict["kind"], conflict["entity"], conflict["key"], conflict["field"]) == (
        "update/update",
        "Order",
        {"id": 2},
        "status",
    )
    assert (conflict["base"], conflict["ours"], conflict["theirs"]) == ("new", "archived", "paid")
    assert (conflict["theirs_by"], conflict["seq"], conflict["commit"]) == (KEN, seq, "pg:1:1:0000000000000100")


def test_a_local_change_equal_to_upstreams_is_no_conflict(log: MadeLog, orders: Fork) -> None:
    orders.sql('UPDATE public."order" SET status = %s WHERE id = 1', "paid")
    log.commit(log.update("Order", 1, {"status": "new"}, {"status": "paid"}))

    orders.sync()

    assert orders.sql(ROWS)[0] == (1, "paid", None)
    assert orders.conflicts() == []


def test_a_later_change_of_a_conflicting_field_goes_on_with_the_conflict_and_agreement_settles_it(
    log: MadeLog, orders: Fork
) -> None:
    orders.sql('UPDATE public."order" SET status = %s WHERE id = 1', "archived")
    log.commit(log.update("Order", 1, {"status": "new"}, {"status": "paid"}))
    orders.sync()
    first = orders.conflict()
    log.commit(log.update("Order", 1, {"status": "paid"}, {"status": "sent"}), by=KEN)
    orders.sync()
    second = orders.conflict()
    assert second["id"] == first["id"]
    assert (second["base"], second["ours"], second["theirs"]) == ("new", "archived", "sent")
    assert second["theirs_by"] == KEN

    log.commit(log.update("Order", 1, {"status": "sent"}, {"status": "archived"}))
    orders.sync()

    assert orders.conflicts() == []
    assert [c["status"] for c in orders.conflicts(closed=True)] == ["settled"]


def test_a_conflict_that_the_owner_ends_by_hand_is_settled_by_the_next_change(log: MadeLog, orders: Fork) -> None:
    orders.sql('UPDATE public."order" SET status = %s WHERE id = 1', "archived")
    log.commit(log.update("Order", 1, {"status": "new"}, {"status": "paid"}))
    orders.sync()
    orders.sql('UPDATE public."order" SET status = %s WHERE id = 1', "paid")
    log.commit(log.update("Order", 1, {"status": "paid"}, {"status": "sent"}))

    orders.sync()

    assert orders.sql(ROWS)[0] == (1, "sent", None)
    assert orders.conflicts() == []


def test_an_update_of_a_row_deleted_here_is_a_conflict_until_upstream_deletes_it_too(
    log: MadeLog, orders: Fork
) -> None:
    orders.sql('DELETE FROM public."order" WHERE id = 2')
    log.commit(log.update("Order", 2, {"status": "new"}, {"status": "paid"}))
    log.commit(log.update("Order", 2, {"note": "hi"}, {"note": "ho"}))
    orders.sync()
    conflict = orders.conflict()
    assert (conflict["kind"], conflict["field"], conflict["ours"]) == ("update/delete", "", None)
    assert conflict["theirs"] == {"status": "paid", "note": "ho"}

    log.commit(log.delete("Order", {"id": 2, "status": "paid", "note": "ho"}))
    orders.sync()

    assert orders.conflicts() == []
    assert len(orders.sql(ROWS)) == 1


def test_a_delete_of_a_row_changed_here_keeps_the_row_and_is_a_conflict(log: MadeLog, orders: Fork) -> None:
    orders.sql('UPDATE public."order" SET note = %s WHERE id = 2', "mine")
    log.commit(log.delete("Order", {"id": 2, "status": "new", "note": "hi"}), by=KEN)
    log.commit(log.delete("Order", {"id": 1, "status": "new", "note": None}))

    orders.sync()

    assert orders.sql(ROWS) == [(2, "new", "mine")]
    conflict = orders.conflict()
    assert conflict["kind"] == "delete/update"
    assert conflict["base"] == {"id": 2, "status": "new", "note": "hi"}
    assert conflict["ours"] == {"id": 2, "status": "new", "note": "mine"}
    assert conflict["theirs"] is None


def test_an_insert_of_a_key_that_is_here_is_a_conflict_for_each_field_that_differs(log: MadeLog, orders: Fork) -> None:
    orders.sql('INSERT INTO public."order" VALUES (3, %s, %s), (4, %s, NULL)', "mine", "same", "new")
    log.commit(
        log.insert("Order", {"id": 3, "status": "new", "note": "same"}),
        log.insert("Order", {"id": 4, "status": "new", "note": None}),
    )

    orders.sync()

    assert orders.sql(ROWS)[2:] == [(3, "mine", "same"), (4, "new", None)]
    conflict = orders.conflict()
    assert (conflict["kind"], conflict["field"]) == ("insert/insert", "status")
    assert (conflict["ours"], conflict["theirs"]) == ("mine", "new")


def test_a_rekey_onto_a_key_taken_here_is_a_conflict_and_moves_nothing(log: MadeLog, orders: Fork) -> None:
    orders.sql('INSERT INTO public."order" VALUES (9, %s, NULL)', "mine")
    log.commit(log.rekey("Order", 1, 9))

    orders.sync()

    assert [row[:2] for row in orders.sql(ROWS)] == [(1, "new"), (2, "new"), (9, "mine")]
    assert sorted((c["kind"], c["key"]["id"]) for c in orders.conflicts()) == [("unique", 1), ("unique", 9)]


def test_a_rekey_takes_a_rows_conflicts_along(log: MadeLog, orders: Fork) -> None:
    orders.sql('UPDATE public."order" SET status = %s WHERE id = 1', "archived")
    log.commit(log.update("Order", 1, {"status": "new"}, {"status": "paid"}))
    log.commit(log.rekey("Order", 1, 7))

    orders.sync()

    assert orders.sql(ROWS)[1] == (7, "archived", None)
    assert orders.conflict()["key"] == {"id": 7}


def test_a_rekey_of_a_row_changed_here_moves_it_and_the_conflict_has_the_new_key(log: MadeLog, orders: Fork) -> None:
    orders.sql('UPDATE public."order" SET status = %s WHERE id = 1', "archived")
    log.commit(log.rekey("Order", 1, 7, {"status": "new", "note": None}, {"status": "paid", "note": "n"}))

    orders.sync()

    assert orders.sql(ROWS)[1] == (7, "archived", "n")
    assert (orders.conflict()["key"], orders.conflict()["field"]) == ({"id": 7}, "status")


@pytest.mark.parametrize(
    ("constraint", "in_mysql", "kind"),
    [
        ("ADD CONSTRAINT c CHECK (status <> 'bad')", "ADD CONSTRAINT c CHECK (status <> 'bad')", "check"),
        ("ADD CONSTRAINT c UNIQUE (note)", "ADD CONSTRAINT c UNIQUE (note(50))", "unique"),
        ("ALTER COLUMN note SET NOT NULL", "MODIFY COLUMN note TEXT NOT NULL", "not null"),
        ("ALTER COLUMN status TYPE varchar(4)", "MODIFY COLUMN status VARCHAR(4)", "value"),
        ("ADD CONSTRAINT c UNIQUE (note) DEFERRABLE INITIALLY DEFERRED", "", "unique"),
    ],
)
def test_what_the_owners_constraint_refuses_is_a_conflict_and_the_rest_goes_on(
    log: MadeLog, orders: Fork, constraint: str, in_mysql: str, kind: str
) -> None:
    if orders.in_mysql:
        constraint = in_mysql
    if not constraint:
        return
    orders.sql('UPDATE public."order" SET note = %s WHERE id = 1', "x")
    orders.sql(f'ALTER TABLE public."order" {constraint}')
    note = None if kind == "not null" else "hi"
    status = "bad, very bad" if kind == "value" else "bad"
    log.commit(log.insert("Order", {"id": 3, "status": status, "note": note}), by=KEN)
    log.commit(log.insert("Order", {"id": 4, "status": "ok", "note": "y"}))

    orders.sync()

    assert [row[0] for row in orders.sql(ROWS)] == [1, 2, 4]
    conflict = orders.conflict()
    assert (conflict["kind"], conflict["field"], conflict["key"]) == (kind, "", {"id": 3})
    assert conflict["theirs"] == {"id": 3, "status": status, "note": note}
    assert conflict["error"]


def test_a_parent_deleted_upstream_that_has_children_here_stays(log: MadeLog, orders: Fork) -> None:
    orders.sql('CREATE TABLE mine (id int REFERENCES public."order")')
    orders.sql("INSERT INTO mine VALUES (1)")
    log.commit(log.delete("Order", {"id": 1, "status": "new", "note": None}))

    orders.sync()

    assert len(orders.sql(ROWS)) == 2
    assert orders.conflict()["kind"] == "foreign key"


def test_a_trigger_that_raises_is_a_conflict(log: MadeLog, orders: Fork) -> None:
    if orders.in_mysql:
        refusal = "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not here'"
        orders.sql(f'CREATE TRIGGER no BEFORE DELETE ON "order" FOR EACH ROW {refusal}')
    else:
        orders.sql("CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'not here'; END$$")
        orders.sql('CREATE TRIGGER no BEFORE DELETE ON public."order" FOR EACH ROW EXECUTE FUNCTION public.no()')
    log.commit(log.delete("Order", {"id": 1, "status": "new", "note": None}))

    orders.sync()

    assert orders.conflict()["kind"] == "refused"
    assert "not here" in orders.conflict()["error"]


def test_many_conflicts_among_many_changes_are_each_found(log: MadeLog, orders: Fork) -> None:
    log.commit(*[log.insert("Order", {"id": n, "status": "new", "note": None}) for n in range(10, 1010)])
    orders.sync()
    orders.sql('UPDATE public."order" SET status = %s WHERE id %% 100 = 50', "mine")
    log.commit(*[log.update("Order", n, {"status": "new"}, {"status": "paid"}) for n in range(10, 1010)])

    orders.sync()

    assert len(orders.conflicts()) == 10
    assert orders.sql('SELECT status, count(*) FROM public."order" WHERE id >= 10 GROUP BY 1 ORDER BY 1') == [
        ("mine", 10),
        ("paid", 990),
    ]


def test_a_truncate_deletes_what_upstream_had_and_keeps_what_was_made_or_changed_here(
    log: MadeLog, orders: Fork
) -> None:
    log.commit(log.insert("Order", {"id": 3, "status": "new", "note": None}))
    orders.sync()
    orders.sql('UPDATE public."order" SET note = %s WHERE id = 2', "mine")
    orders.sql('INSERT INTO public."order" VALUES (100, %s, NULL)', "local")
    log.commit(
        log.insert("Order", {"id": 4, "status": "new", "note": None}),
        log.update("Order", 1, {"status": "new"}, {"status": "paid"}),
        log.truncate("Order", "Elsewhere"),
        log.insert("Order", {"id": 1, "status": "again", "note": None}),
    )

    orders.sync()

    assert orders.sql(ROWS) == [(1, "again", None), (2, "new", "mine"), (100, "local", None)]
    assert orders.conflict()["kind"] == "delete/update"


def test_two_truncates_in_a_commit_each_delete_what_was_there_by_then(log: MadeLog, orders: Fork) -> None:
    log.commit(
        log.delete("Order", {"id": 1, "status": "new", "note": None}),
        log.rekey("Order", 2, 1),
        log.truncate("Other", "Order"),
        log.insert("Order", {"id": 2, "status": "a", "note": None}),
        log.insert("Order", {"id": 3, "status": "b", "note": None}),
        log.delete("Order", {"id": 3, "status": "b", "note": None}),
        log.rekey("Order", 2, 3),
        log.truncate("Order"),
        log.insert("Order", {"id": 4, "status": "c", "note": None}),
    )
    log.commit(log.truncate("Order"), log.insert("Order", {"id": 5, "status": "d", "note": None}))

    orders.sync()

    assert orders.sql(ROWS) == [(5, "d", None)]
    assert orders.conflicts() == []


def test_an_update_without_its_old_row_sets_the_whole_row(log: MadeLog, orders: Fork) -> None:
    orders.sql('UPDATE public."order" SET note = %s WHERE id = 1', "mine")
    log.commit(log.overwrite("Order", {"id": 1, "status": "paid", "note": "theirs"}))

    orders.sync()

    assert orders.sql(ROWS)[0] == (1, "paid", "theirs")


def test_fields_that_were_not_sent_are_left_alone(log: MadeLog, orders: Fork) -> None:
    change = log.overwrite("Order", {"id": 2, "status": "paid"})
    log.commit({**change, "unsent": ["note"]})

    orders.sync()

    assert orders.sql(ROWS)[1] == (2, "paid", "hi")


def test_updates_without_old_rows_keep_their_order_whatever_fields_they_name(log: MadeLog, orders: Fork) -> None:
    log.commit(
        log.overwrite("Order", {"id": 2, "status": "x", "note": "x"}),
        log.overwrite("Order", {"id": 1, "status": "first"}),
        log.overwrite("Order", {"id": 1, "status": "second", "note": "z"}),
    )

    orders.sync()

    assert orders.sql(ROWS) == [(1, "second", "z"), (2, "x", "x")]


def test_while_a_snapshot_is_not_complete_changes_of_unknown_rows_are_passed_over(log: MadeLog, fork: Fork) -> None:
    log.shape("Order", ID, column("status"), column("note"))
    log.commit(log.insert("Order", {"id": 8, "status": "new", "note": None}))
    log.snapshot("Order", {"id": 1, "status": "new", "note": None}, name="s", last=False)
    log.commit(
        log.update("Order", 5, {"status": "new"}, {"status": "paid"}),
        log.delete("Order", {"id": 6, "status": "new", "note": None}),
    )
    fork.sync()
    assert fork.conflicts() == []
    rows = [{"id": 5, "status": "paid", "note": None}, {"id": 8, "status": "new", "note": None}]
    log.snapshot("Order", *rows, name="s")

    fork.sync()

    assert [row[:2] for row in fork.sql(ROWS)] == [(1, "new"), (5, "paid"), (8, "new")]
    assert fork.conflicts() == []
    log.commit(log.update("Order", 6, {"status": "new"}, {"status": "paid"}))
    fork.sync()
    assert fork.conflict()["kind"] == "update/delete"


def test_a_row_made_here_under_a_key_of_the_snapshot_is_a_conflict(log: MadeLog, fork: Fork) -> None:
    log.shape("Order", ID, column("status"), column("note"))
    fork.sync()
    fork.sql('INSERT INTO public."order" VALUES (1, %s, NULL), (2, %s, NULL)', "mine", "local")
    log.snapshot("Order", {"id": 1, "status": "new", "note": None})

    fork.sync()

    assert [row[:2] for row in fork.sql(ROWS)] == [(1, "mine"), (2, "local")]
    assert fork.conflict()["kind"] == "insert/insert"


def test_a_snapshot_after_a_gap_brings_what_was_missed_and_keeps_what_was_changed_here(
    log: MadeLog, fork: Fork
) -> None:
    log.shape("Order", ID, column("status"), column("note"))
    log.snapshot("Order", *[{"id": n, "status": "new", "note": None} for n in range(1, 7)])
    log.commit(log.update("Order", 1, {"status": "new"}, {"status": "paid"}))
    fork.sync()
    fork.sql('UPDATE public."order" SET note = %s WHERE id IN (2, 3, 5)', "mine")
    fork.sql('INSERT INTO public."order" VALUES (100, %s, NULL)', "local")
    # Missed: 2 was changed in another field, 3 in the same, 5 deleted, 7 inserted, 4 changed, then seen to be changed again
    # and, before the snapshot came to it, deleted; 1 and 6 are as they were.
    log.gap()
    log.commit(log.insert("Order", {"id": 8, "status": "new", "note": None}))
    log.commit(log.update("Order", 4, {"status": "?"}, {"status": "!"}))
    fork.sync()
    assert fork.sql(ROWS)[3] == (4, "!", None)
    log.commit(log.delete("Order", {"id": 4, "status": "!", "note": "?"}))
    log.snapshot(
        "Order",
        {"id": 1, "status": "paid", "note": None},
        {"id": 2, "status": "sent", "note": None},
        {"id": 3, "status": "new", "note": "theirs"},
        name="again",
        last=False,
    )
    fork.sync()
    log.snapshot(
        "Order",
        {"id": 6, "status": "new", "note": None},
        {"id": 7, "status": "new", "note": None},
        name="again",
        omitted=[[8]],
    )

    fork.sync()

    assert fork.sql(ROWS) == [
        (1, "paid", None),
        (2, "sent", "mine"),
        (3, "new", "mine"),
        (5, "new", "mine"),
        (6, "new", None),
        (7, "new", None),
        (8, "new", None),
        (100, "local", None),
    ]
    kinds = {conflict["key"]["id"]: conflict["kind"] for conflict in fork.conflicts()}
    assert kinds == {3: "update/update", 5: "delete/update"}
