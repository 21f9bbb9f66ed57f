"""The writer's end of the chain: what it makes, every reader accepts, byte for byte as the specification says."""

import time
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from commitlog.cdc.log.chain import NO_EXTRAS, ChainWriter, Clock, Extras, new_log_id
from commitlog.schemas.errors import Refused
from commitlog.schemas.record import EMPTY, GENESIS_PREV, INTEGER_MAX, LINE_BYTES_MAX, Chain, Head, Record, parse_json

LOG = "0123456789abcdef" * 2
HEADER = [
    "v", "log", "epoch", "seq", "prev", "kind", "id", "time", "source", "schema", "shapes", "part", "ref", "void", "tree",
]  # fmt: skip
"""The header's keys in the order of the specification, as far as this writer has them."""

digests = st.binary(min_size=32, max_size=32).map(bytes.hex)
seqs = st.integers(0, INTEGER_MAX)
extras = st.builds(
    Extras,
    schema=st.just("") | digests,
    shapes=st.lists(digests, max_size=3).map(tuple[str, ...]),
    part=st.none() | st.tuples(seqs, st.booleans()),
    ref=st.none() | st.builds(Head, seqs, digests),
    void=st.none() | st.tuples(seqs, seqs),
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-INTEGER_MAX, INTEGER_MAX)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
    ),
    max_leaves=8,
)
items = st.lists(values.map(orjson.dumps), min_size=2, max_size=20)


def writer(**values: Any) -> ChainWriter:
    return ChainWriter(LOG, **{"epoch": 1, "engine": "postgresql", "position": "0/1", **values})


def checked(line: bytes) -> Record:
    """The record, by the quick way and by the whole one."""
    made = Record.parse(line)
    made.check_tree()
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert parse_json(made.header_bytes) == made.header
    assert list(made.header) == [key for key in HEADER if key in made.header]
    return made


@given(st.lists(st.tuples(items, extras), min_size=1, max_size=5))
def test_every_record_is_accepted_after_the_one_before(records: list[tuple[list[bytes], Extras]]) -> None:
    chain, reader = writer(), Chain()
    for number, (body, more) in enumerate(records):
        made = checked(
            chain.commit(f"pg:1:1:{number:016X}", number, position=f"0/{number}", items=body, tail=more.text())
        )
        assert reader.accept(made) == "new"
        assert reader.head == chain.head == made.head
        assert [orjson.dumps(item) for item in made.items()] == body
        assert made.header["tree"]["bytes"] == sum(map(len, body))
        assert made.header["source"]["after"] == ("0/1" if not number else f"0/{number - 1}")
        assert made.header.get("schema", "") == more.schema
        assert tuple(made.header.get("shapes", ())) == more.shapes
        assert made.header.get("part") == (None if more.part is None else {"n": more.part[0], "last": more.part[1]})
        assert made.header.get("ref") == (None if more.ref is None else {"seq": more.ref.seq, "hash": more.ref.hash})
        assert made.header.get("void") == (None if more.void is None else {"from": more.void[0], "to": more.void[1]})


def test_a_chain_begins_with_nothing_before_it_and_goes_on_from_any_head() -> None:
    chain = writer()
    first = checked(chain.record("genesis", [b"{}"]))
    assert (first.seq, first.header["prev"], first.header["epoch"], first.header["log"]) == (0, GENESIS_PREV, 1, LOG)
    assert chain.head == Head(0, sha256(first.header_bytes).hexdigest())
    later = writer(epoch=3, head=chain.head, position="1/2")
    second = checked(later.record("coverage", position="1/3"))
    assert (second.seq, second.header["prev"], second.header["epoch"]) == (1, chain.head.hash, 3)
    assert second.header["source"] == {"engine": "postgresql", "position": "1/3", "after": "1/2"}
    assert later.position == "1/3"


def test_a_record_of_the_log_has_its_id_time_and_meta() -> None:
    chain = writer(epoch=2)
    plain = checked(chain.record("coverage"))
    assert plain.header["id"] == f"{LOG}:2:0"
    assert plain.items() == [None, {}]
    assert plain.header["source"]["position"] == "0/1"
    told = checked(chain.record("snapshot", [b"1", b"2"], meta={"last": True}))
    assert told.header["id"] == f"{LOG}:2:1"
    assert told.items() == [None, {"last": True}, 1, 2]
    given_both = checked(chain.raw("amend", [b'{"assurance":2}', b'{"xid":1}'], extras=Extras(ref=plain.head)))
    assert given_both.items() == [{"assurance": 2}, {"xid": 1}]
    assert given_both.header["ref"] == {"seq": 0, "hash": plain.hash}
    now = datetime.fromisoformat(told.header["time"])
    assert abs((datetime.now(UTC) - now).total_seconds()) < 60


def test_the_parts_of_a_commit_move_the_position_with_the_last() -> None:
    chain, reader = writer(), Chain()
    parts = [
        chain.commit(
            "pg:1:1:00000000000000FF",
            5,
            position=chain.position if number < 2 else "0/FF",
            items=[b"null", b"{}"],
            tail=Extras("a" * 64, (), (number, number == 2)).text(),
        )
        for number in range(3)
    ]
    made = [checked(line) for line in parts]
    assert [reader.accept(part) for part in made] == ["new"] * 3
    assert [part.header["part"] for part in made] == [{"n": n, "last": n == 2} for n in range(3)]
    assert [part.header["source"]["position"] for part in made] == ["0/1", "0/1", "0/FF"]
    assert len({part.header["id"] for part in made}) == 1


def test_no_record_has_the_salt_of_another() -> None:
    chain = writer()
    salts = {parse_json(checked(chain.record("coverage")).body_bytes)["salt"] for _ in range(300)}
    assert len(salts) == 300


def test_recorded_is_the_time_of_the_last_tick_and_in_no_hash() -> None:
    chain = writer()
    body = [b"null", b"{}"]
    first, second = (checked(chain.commit("a:1", 0, position="0/1", items=body)) for _ in range(2))
    assert first.recorded == second.recorded
    while Clock().now() == first.recorded:
        time.sleep(0)
    chain.tick()
    assert checked(chain.commit("a:1", 0, position="0/1", items=body)).recorded > first.recorded
    assert first.recorded.encode() not in first.header_bytes


@given(st.lists(st.integers(-(10**15), 4 * 10**15), min_size=1, max_size=8))
def test_a_clock_writes_each_time_whole(times: list[int]) -> None:
    clock = Clock()
    for time_us in [*times, times[0]]:
        written = datetime.strptime(clock.text(time_us), "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
        assert round(written.timestamp() * 1_000_000) == pytest.approx(time_us, abs=1)
        assert len(clock.text(time_us)) == len("2026-11-22T10:11:12.345678Z")


def test_nothing_extra_is_nothing() -> None:
    assert NO_EXTRAS.text() == Extras().text() == ""


def test_a_record_that_no_reader_would_take_is_not_made() -> None:
    chain = writer()
    chain.record("genesis", [b"{}"])
    before = chain.head
    with pytest.raises(Refused, match="is above the limit of 67108864 bytes"):
        chain.record("commit", [b'"' + b"x" * LINE_BYTES_MAX + b'"'])
    assert chain.head == before


def test_a_log_has_an_id_of_its_own() -> None:
    ids = {new_log_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(Record.parse(ChainWriter(i, epoch=1, engine="e").record("genesis")).header["log"] == i for i in ids)
    assert writer().head == EMPTY
