"""G1 to G4: whatever somebody writes as a tag, the commit stands in the log, and the tag is a claim or named as unusable."""

import json
from typing import Any

import orjson
import pytest

from fixtures.load import open_shop
from fixtures.worker import Commit, Source

CLAIM = {"v": 1, "user": "mallory", "request": "r-1", "app": "shop"}


class Tagged:
    """A shop with a worker; `commit` makes a transaction with these tags and gives what the log says of it."""

    def __init__(self, source: Source) -> None:
        self.source = open_shop(source)
        self.run = source.run()
        self._number = 0

    def commit(self, *tags: bytes | str, transactional: bool = True) -> Commit:
        self._number += 1
        with self.source.connect() as connection, connection.transaction():
            row = connection.execute(
                "INSERT INTO orders VALUES (%s, 'tagged', 0) RETURNING pg_current_xact_id()::text::bigint",
                (self._number,),
            ).fetchone()
            for tag in tags:
                data = tag.encode() if isinstance(tag, str) else tag
                connection.execute("SELECT pg_logical_emit_message(%s, 'commitlog', %b::bytea)", (transactional, data))
        assert row is not None
        self.run.until_marked()
        (commit,) = [commit for commit in self.source.history().commits if commit.xid == row[0]]
        return commit

    def finish(self) -> None:
        self.run.until_snapshots()
        self.run.terminate()
        self.source.check()


@pytest.fixture
def tagged(source: Source) -> Tagged:
    return Tagged(source)


def claim(**more: object) -> str:
    return json.dumps({**CLAIM, **more})


def test_g1_a_tag_that_is_not_json_is_named_and_the_commit_stands(tagged: Tagged) -> None:
    deep = "[" * 3000 + "]" * 3000
    tags: list[bytes | str] = [
        "",
        "{",
        "who? me",
        "null",
        "[1]",
        '"user"',
        "{}",
        '{"v":1}',
        '{"user":1}',
        '{"user":{"a":"b"}}',
        '{"user":null}',
        '{"user":"\\ud800"}',
        '{"user":"a",}',
        '{"user":NaN}',
        b'{"user":"\xff\xfe"}',
        b"\x00\x01\x02",
        b'{"user":"a\x00"}',
        f'{{"user":{deep}}}'[:4000],
        claim(user="x" * 513),
    ]
    for tag in tags:
        commit = tagged.commit(tag)
        assert commit.by is None, tag
        assert commit.meta["tag"] == "malformed", tag
    tagged.finish()


def test_g2_a_tag_of_a_megabyte_is_named_and_costs_nothing(tagged: Tagged) -> None:
    commit = tagged.commit(claim(padding="x" * 1_000_000))

    assert commit.by is None
    assert commit.meta["tag"] == "too_large"
    assert sum(len(json.dumps(items)) for _, items in tagged.source.history().records) < 100_000
    tagged.finish()


def test_g3_a_forged_tag_is_a_claim_and_the_last_of_several_counts(tagged: Tagged) -> None:
    forged = tagged.commit(claim(assurance=3, claims={"user": "root"}))
    assert forged.by == {"assurance": 1, **{key: CLAIM[key] for key in ("user", "request", "app")}}

    several = tagged.commit(claim(user="first"), "not json", claim(user="last"))
    assert several.by is not None
    assert (several.by["user"], several.by["assurance"], several.meta["tags"]) == ("last", 1, 3)

    spoiled = tagged.commit(claim(user="first"), "not json")
    assert spoiled.by is None
    assert (spoiled.meta["tag"], spoiled.meta["tags"]) == ("malformed", 2)

    # Outside any transaction a message belongs to none.
    loose = tagged.commit(claim(), transactional=False)
    assert loose.by is None
    assert "tag" not in loose.meta
    tagged.finish()


def test_g4_any_text_comes_through_as_it_is(tagged: Tagged) -> None:
    users = [
        "a\x00b",
        "\"quoted\" and 'quoted'",
        "back\\slash",
        "line\nfeed\r\ttab\x08\x0c\x1f\x7f",
        "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467",
        "e\u0301\u202eright to left\u2028",
        '","body":{',
        "x" * 512,
    ]
    for user in users:
        commit = tagged.commit(orjson.dumps({**CLAIM, "user": user, "build": user}))

        assert commit.by is not None
        assert (commit.by["user"], commit.by["build"]) == (user, user)
    tagged.finish()


def test_a_tag_in_a_transaction_without_changes_makes_no_commit(tagged: Tagged) -> None:
    count: Any = len(tagged.source.history().commits)
    tagged.source.execute(f"SELECT pg_logical_emit_message(true, 'commitlog', '{claim()}')")
    tagged.run.until_marked()

    commits = tagged.source.history().commits[count:]
    assert [change["entity"] for commit in commits for change in commit.changes] == ["Mark"]
    assert all(commit.by is None for commit in commits)
    tagged.finish()
