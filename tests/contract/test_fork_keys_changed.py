"""A key whose type changes, or whose spelling alone, is told anew under other texts: in a fork each row stays the one it was."""

import re

import pytest

from commitlog.schemas.errors import Refused
from fixtures.followed import Followed
from fixtures.midstream import CHUNK, settle, started
from fixtures.worker import Source

CHANGES = {
    "scale": ("numeric(10,1)", ("numeric(10,2)", "numeric(12,3)")),
    "rounded": ("real", ("double precision", "numeric(10,3)")),
    "whole": ("numeric(10,2)", ("bigint", "numeric(12,3)", "integer")),
    "padded": ("character(4)", ("character(7)", "character varying(9)", "integer")),
}


def follow(fork: Followed) -> None:
    """Apply what the log holds, doing what is said where a column becomes another one."""
    while True:
        try:
            fork.sync()
        except Refused as refused:
            said = re.match(r"ALTER TABLE .*(?=, then)", refused.hint or "")
            if said is None:
                raise
            fork.sql(said[0])
        else:
            return


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_no_row_of_a_fork_is_lost_where_a_keys_type_changes(
    source: Source, fork: Followed, change: str, *, at_once: bool
) -> None:
    first, later = CHANGES[change]
    source.execute(
        f"CREATE TABLE item (id {first} PRIMARY KEY, n int)",
        "INSERT INTO item VALUES ('1', 1), ('2', 2), ('3', 3), ('4', 4)",
    )
    source.map("Item", "item")
    source.setup()
    run = started(source)
    follow(fork)
    for number, type_ in enumerate(later):
        source.execute(
            f"ALTER TABLE item ALTER id TYPE {type_} USING id::{type_}",
            "UPDATE item SET n = n + 10 WHERE id = '1'",
            f"DELETE FROM item WHERE id = '{number + 2}'",
        )
        if not at_once:
            settle(run)
            follow(fork)
    settle(run)
    run.terminate()
    follow(fork)
    fork.check("Item")


def test_a_fork_made_after_the_key_has_become_another_has_every_row(source: Source, fork: Followed) -> None:
    source.execute(
        "CREATE TABLE item (id numeric(10,1) PRIMARY KEY, n int)", "INSERT INTO item VALUES (1, 1), (2, 2), (3, 3)"
    )
    source.map("Item", "item")
    source.setup()
    run = started(source)
    source.execute("ALTER TABLE item ALTER id TYPE numeric(10,2)", "UPDATE item SET n = 4 WHERE id = 2")
    settle(run)
    run.terminate()
    source.check()
    fork.check("Item")


def test_a_key_that_history_lost_left_in_another_case_is_the_same_row(source: Source, fork: Followed) -> None:
    source.execute(
        "CREATE EXTENSION citext",
        "CREATE TABLE item (id citext PRIMARY KEY, n int)",
        "INSERT INTO item VALUES ('Abc', 1), ('b', 2), ('gone', 3)",
    )
    fork.sql("CREATE EXTENSION citext")
    source.map("Item", "item")
    source.setup()
    run = started(source)
    run.terminate()
    fork.sync()
    source.execute("UPDATE item SET id = 'ABC', n = 4 WHERE id = 'abc'", "DELETE FROM item WHERE id = 'gone'")
    source.value("SELECT slot_name FROM pg_replication_slot_advance(%s, pg_current_wal_lsn())", source.name)
    source.run().refused(3)
    source.commitlog("resume", "--accept-gap")
    source.catch_up(**CHUNK)
    fork.check("Item")
