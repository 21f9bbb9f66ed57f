"""Transactions become commits: what of them is published, by whose schema, in how many parts, and with which meta."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commitlog.cdc.log import canonical
from commitlog.cdc.log.state import Progress
from commitlog.cdc.worker.commits import TAG_SLACK, UnknownBuild
from commitlog.schemas.errors import DecodeError, Refused, SchemaError
from commitlog.transforms.join import CORROBORATION_WINDOW_US
from fixtures.committed import NOW, PLAIN, UNPUBLISHED, Log, Seen, row, schema, tag
from fixtures.messages import (
    INT4,
    ITEM,
    TEXT,
    delete,
    insert,
    message,
    relation,
    truncate,
    update,
)


def test_a_transaction_becomes_one_record_with_its_schema_and_shapes_before_it() -> None:
    log = Log()
    (made,) = log.commit(insert(row()), insert(row(2), PLAIN), insert(row(3)), tag(user="alice", build="b1"), end=0xABC)
    assert [record.kind for record in log.records()] == ["genesis", "schema", "shape", "shape", "commit"]
    by, meta, *items = made.items()
    assert by == {"assurance": 1, "user": "alice", "build": "b1"}
    assert meta == {"xid": 9, "schema_by": "build"}
    assert [(item["entity"], item["shape"], item["key"]["id"]) for item in items] == [
        ("item", 0, 1), ("part", 1, 2), ("item", 0, 3),
    ]  # fmt: skip
    header = made.header
    assert header["id"] == "pg:77:1:0000000000000ABC"
    assert header["source"]["position"] == "0/ABC"
    assert header["time"] == "2026-11-14T19:33:20.000000Z"
    assert header["schema"] == schema().id
    assert len(header["shapes"]) == 2
    assert "part" not in header
    assert b"secret" not in made.body_bytes
    assert (log.counts.commits, log.counts.rows, log.counts.untagged) == (1, 3, 0)
    assert log.committer.last == {
        "id": header["id"],
        "position": "0/ABC",
        "after": header["source"]["after"],
        "xid": 9,
        "time": "2026-11-14T19:33:20.000000Z",
    }


def test_schemas_and_shapes_are_recorded_once_and_a_table_described_anew_has_another() -> None:
    log = Log()
    log.commit(insert(row()), end=0x1000)
    log.commit(insert(row(2)), end=0x2000)
    wider = relation(ITEM, [("id", INT4), ("more", INT4), ("name", INT4)])
    (made,) = log.commit(insert(row(3)), wider, insert([b"4", b"5", b"6"]), end=0x3000)
    assert [record.kind for record in log.records()] == [
        "genesis", "schema", "shape", "commit", "commit", "shape", "commit",
    ]  # fmt: skip
    assert [item["shape"] for item in made.items()[2:]] == [0, 1]
    assert [item["after"] for item in made.items()[2:]] == [{"id": 3, "name": "n"}, {"id": 4, "name": 6}]


def test_a_table_that_is_described_again_and_again_takes_no_more_memory() -> None:
    log = Log()
    for number in range(1, 50):
        same = relation(ITEM, [("id", INT4), ("name", TEXT), ("secret", TEXT)])
        (made,) = log.commit(insert(row(number)), same, insert(row(-number)), end=0x1000 * number)
        assert [item["key"]["id"] for item in made.items()[2:]] == [number, -number]
    # As it was described before the last transaction, and within it.
    assert len(log.committer.plans.of(schema())) == 2


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [insert([b"1"], UNPUBLISHED)],
        [truncate([UNPUBLISHED])],
        [update(row(), row())],
        [update([b"1", b"n", b"other"], row())],
        [tag(user="alice")],
    ],
)
def test_what_publishes_nothing_makes_no_commit(messages: list[bytes]) -> None:
    log = Log()
    assert log.commit(*messages) == []
    assert (log.counts.unpublished, log.counts.commits) == (1, 0)
    assert log.chain.position == "0/1"
    assert log.committer.last == {}


def test_changes_that_are_not_published_are_counted_in_meta() -> None:
    log = Log()
    (made,) = log.commit(
        insert([b"1"], UNPUBLISHED),
        insert(row()),
        update([b"1", b"n", b"x"], row()),
        truncate([UNPUBLISHED]),
        delete(row()),
    )
    assert [item["op"] for item in made.items()[2:]] == ["insert", "delete"]
    assert made.items()[:2] == [None, {"xid": 9, "skipped": 3, "schema_by": "default"}]
    assert log.counts.untagged == 1


def test_a_truncate_names_what_is_published_of_it() -> None:
    log = Log()
    (made,) = log.commit(truncate([ITEM, UNPUBLISHED, PLAIN], cascade=True))
    assert made.items()[2:] == [{"op": "truncate", "entities": ["item", "part"], "cascade": True}]
    assert "shapes" not in made.header


@pytest.mark.parametrize(
    ("tags", "by", "meta"),
    [
        ([b"no json"], None, {"tag": "malformed"}),
        ([b"x" * (1024 * TAG_SLACK + 1)], None, {"tag": "too_large"}),
        ([b'{"user":"a"}', b'{"user":"b"}'], {"assurance": 1, "user": "b"}, {"tags": 2}),
        ([b'{"user":"a"}', b"", b"{"], None, {"tag": "malformed", "tags": 3}),
    ],
)
def test_G1_G2_meta_says_what_became_of_the_tags(tags: list[bytes], by: object, meta: dict[str, Any]) -> None:
    log = Log()
    (made,) = log.commit(insert(row()), *(message(content) for content in tags))
    assert made.items()[:2] == [by, {"xid": 9, "schema_by": "default", **meta}]
    assert list(made.items()[1]) == ["xid", "schema_by", *meta]


@given(st.lists(st.integers(0, 300), min_size=1, max_size=20), st.integers(1, 800))
def test_a_large_transaction_comes_in_parts_that_make_it_up(sizes: list[int], part_bytes: int) -> None:
    log = Log(part_bytes=part_bytes)
    changes = [insert(row(number, b"x" * size), (ITEM, PLAIN)[number % 2]) for number, size in enumerate(sizes)]
    made = log.commit(*changes, tag(user="alice"), end=0xAA)
    items = [item for part in made for item in part.items()[2:]]
    assert [(item["key"]["id"], len(item["after"]["name"])) for item in items] == list(enumerate(sizes))
    if len(made) > 1:
        assert [part.header["part"] for part in made] == [
            {"n": n, "last": n == len(made) - 1} for n in range(len(made))
        ]
    assert [part.items()[0] for part in made] == [{"assurance": 1, "user": "alice"}] + [None] * (len(made) - 1)
    assert {part.header["id"] for part in made} == {"pg:77:1:00000000000000AA"}
    assert [part.header["source"]["position"] for part in made] == ["0/1"] * (len(made) - 1) + ["0/AA"]
    for part in made:
        longest = max((len(canonical.dump(item)) for item in part.items()[2:]), default=0)
        assert sum(len(canonical.dump(item)) for item in part.items()[2:]) <= part_bytes + longest
        shapes: Sequence[str] = part.header.get("shapes", [])
        assert {item["shape"] for item in part.items()[2:]} == set(range(len(shapes)))
    assert (log.counts.commits, log.counts.rows) == (1, len(sizes))


def test_the_schema_of_the_build_shapes_the_rows() -> None:
    log = Log(schema(), schema("id", "name", "secret", builds=("b2",), default=False))
    (old,) = log.commit(insert(row()), tag(build="b1"), end=0x1000)
    (new,) = log.commit(insert(row()), tag(build="b2"), end=0x2000)
    (untagged,) = log.commit(insert(row()), end=0x3000)
    assert [sorted(made.items()[2]["after"]) for made in (old, new, untagged)] == [
        ["id", "name"], ["id", "name", "secret"], ["id", "name"],
    ]  # fmt: skip
    assert old.header["schema"] == untagged.header["schema"] != new.header["schema"]


def test_a_build_without_a_schema_waits_where_the_schemas_say_so() -> None:
    log = Log(schema(strict=True))
    with pytest.raises(UnknownBuild, match="no app schema is for build 'b9'"):
        log.commit(insert(row()), tag(build="b9"))
    assert len(log.lines) == 1
    nothing = Log(schema(default=False))
    with pytest.raises(UnknownBuild, match="no app schema is the default, for untagged writes"):
        nothing.commit(insert(row()))


def test_a_key_that_the_table_lost_is_named() -> None:
    log = Log()
    log.state.snapshots["item"] = Progress("1", None, last=True)
    with pytest.raises(SchemaError, match="the key field 'id' cannot be recorded: the table has no such column"):
        log.commit(relation(ITEM, [("name", TEXT)]), insert([b"n"]))


def test_rows_without_the_key_are_left_to_a_snapshot_that_is_still_to_come() -> None:
    log = Log()
    log.state.snapshots["item"] = Progress("1", None, last=False)
    assert log.commit(relation(ITEM, [("name", TEXT)]), insert([b"n"])) == []
    nobody_takes_it = Log(schema(builds=("b1",), default=False))
    with pytest.raises(SchemaError, match="the key field 'id'"):
        nobody_takes_it.commit(relation(ITEM, [("name", TEXT)]), insert([b"n"]), tag(build="b1"))


@pytest.mark.parametrize(
    "change",
    [
        insert([b"x", b"n", b"s"]),
        insert([b"1", b"\xff", b"s"]),
        insert(row()[:2]),
        update(row()[:2], row()),
        update(row(), row()[:2]),
        update([b"1", b"\xff", b"s"], row()),
        delete([b"x", b"n", b"s"]),
        delete([]),
    ],
)
def test_D1_a_row_that_cannot_be_read_stops_with_a_typed_error(change: bytes) -> None:
    with pytest.raises(DecodeError):
        Log().commit(change)


def test_a_row_without_its_key_is_refused() -> None:
    with pytest.raises(Refused, match=r"public\.item: a row arrived without id"):
        Log().commit(insert([None, b"n", b"s"]))


def test_G3_a_request_seen_again_later_is_no_witness_however_fast_the_stream_is_read() -> None:
    log = Log()
    log.committer.lookup = lambda request, time_us: Seen()
    later = NOW + CORROBORATION_WINDOW_US + 2_000_000
    for number, time_us in enumerate((NOW, later, NOW)):
        (made,) = log.commit(
            insert(row(number)), tag(user="mallory", request="r"), end=0x1000 * (number + 1), time_us=time_us
        )
        assert made.items()[0]["assurance"] == (1 if time_us == later else 2)
        assert made.items()[0]["user"] == ("mallory" if time_us == later else "alice")


def test_a_tag_is_looked_up_once_until_records_may_have_come() -> None:
    log = Log()
    asked: list[str] = []

    def lookup(request: str, time_us: int) -> None:
        asked.append(request)

    log.committer.lookup = lookup
    for number in range(3):
        log.commit(insert(row(number)), tag(request="r"), end=0x1000 * (number + 1))
    assert asked == ["r"]
    log.committer.refresh()
    log.commit(insert(row()), tag(request="r"), end=0x9000)
    assert asked == ["r", "r"]
