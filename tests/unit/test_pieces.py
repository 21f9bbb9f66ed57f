"""Items too large for a record: cut into pieces and joined again, and what verify says of pieces that are not right."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from commitlog.cdc.log import canonical, pieces
from commitlog.cdc.log.pieces import Joiner, cut, in_parts
from commitlog.cdc.log.rules import Rules
from commitlog.schemas.change import UNSENT
from commitlog.schemas.errors import RecordError, Refused, VerificationFailed
from commitlog.schemas.record import Record
from fixtures.committed import ITEM, PLAIN, Log, row, tag
from fixtures.messages import delete, insert, update

TEXTS = st.text(st.characters(codec="utf-8"), max_size=60) | st.sampled_from(['"' * 30, "\\" * 30, "\x01é😀" * 9])
CHANGES = st.fixed_dictionaries({"op": st.just("insert"), "after": st.dictionaries(TEXTS, TEXTS, max_size=4)})


def joined(items: list[Any]) -> dict[str, Any]:
    joiner = Joiner()
    *_, last = (joiner.take(seq, [None, {}, item]) for seq, item in enumerate(items))
    assert not joiner.open
    change: dict[str, Any] = last[2]
    return change


@given(CHANGES, st.integers(8, 200))
def test_pieces_are_records_of_their_size_and_join_to_what_was_cut(change: dict[str, Any], bytes_max: int) -> None:
    item = canonical.dump(change)
    assume(len(item) > bytes_max)
    made = [canonical.parse(piece) for piece in cut(item, bytes_max)]
    assert [piece["piece"] for piece in made] == [{"n": n, "last": n == len(made) - 1} for n in range(len(made))]
    assert "".join(piece["text"] for piece in made).encode() == item
    assert all(len(canonical.dump(piece["text"])) - 2 <= bytes_max for piece in made)
    assert joined(made) == change


@given(st.lists(st.integers(2, 90), max_size=20), st.integers(8, 60))
def test_parts_hold_what_fits_or_one_piece(sizes: list[int], bytes_max: int) -> None:
    items = [json.dumps("x" * (size - 2)).encode() for size in sizes]
    parts = list(in_parts([b"", b"", *items], sum(sizes), bytes_max))
    assert all(part[:2] == [b"", b""] for part in parts)
    found, text = [], ""
    for part in (part[2:] for part in parts):
        own = [json.loads(item) for item in part]
        if own and "piece" in own[0]:
            assert len(own) == 1
            text += own[0]["text"]
            if own[0]["piece"]["last"]:
                found.append(text.encode())
                text = ""
        else:
            assert sum(map(len, part)) <= bytes_max
            found += part
    assert found == items


PIECES: list[dict[str, Any]] = [canonical.parse(piece) for piece in cut(b'{"op":"insert","entity":"item"}', 20)]


def in_two(text: str) -> list[Any]:
    return [
        {"piece": {"n": 0, "last": False}, "text": text[:1]},
        {"piece": {"n": 1, "last": True}, "text": text[1:]},
    ]


def test_pieces_missing_doubled_changed_or_malformed_are_refused() -> None:
    assert len(PIECES) == 4
    piece, text = PIECES[0]["piece"], PIECES[0]["text"]
    bad: list[list[Any]] = [
        [*PIECES[:1], *PIECES[2:]],
        [*PIECES[1:]],
        [PIECES[0], *PIECES],
        [*PIECES[:2], *PIECES[1:]],
        [PIECES[1], PIECES[0], *PIECES[2:]],
        [*PIECES[:2], {"op": "insert"}],
        [{**PIECES[0], "text": text.replace('"', " ")}, *PIECES[1:]],
        [{**PIECES[0], "text": " " + text}, *PIECES[1:]],
        [{**PIECES[0], "text": ""}, *PIECES[1:]],
        [{"piece": piece}, *PIECES[1:]],
        [{"text": text, "piece": piece}, *PIECES[1:]],
        [{**PIECES[0], "more": 1}, *PIECES[1:]],
        [{**PIECES[0], "piece": {"n": False, "last": False}}, *PIECES[1:]],
        [{**PIECES[0], "piece": {"n": 0, "last": 0}}, *PIECES[1:]],
        [{**PIECES[0], "piece": {"last": False, "n": 0}}, *PIECES[1:]],
        [{"piece": {"n": 0, "last": True}, "text": '{"op":"insert"}'}],
        in_two("[1]"),
        in_two(json.dumps({"piece": piece, "text": text}, separators=(",", ":"))),
    ]
    assert joined(in_two('{"op":"insert"}')) == {"op": "insert"}
    for items in bad:
        with pytest.raises(RecordError):
            joined(items)


def test_a_piece_missing_or_doubled_within_a_text_is_found_though_what_is_left_would_be_a_change() -> None:
    alike = [canonical.parse(piece) for piece in cut(b'{"op":"' + b"x" * 90 + b'"}', 40)]
    assert joined(alike) == {"op": "x" * 90}
    for items in ([alike[0], *alike[2:]], [*alike[:2], *alike[1:]], [alike[0], alike[2], alike[1], *alike[3:]]):
        assert json.loads("".join(piece["text"] for piece in items))["op"].strip("x") == ""
        with pytest.raises(RecordError, match="comes next"):
            joined(items)


def test_a_piece_stands_alone() -> None:
    with pytest.raises(RecordError):
        Joiner().take(5, [None, {}, PIECES[0], PIECES[1]])


def test_pieces_without_their_last_are_open() -> None:
    joiner = Joiner()
    assert joiner.take(1, [None, {"xid": 1}, PIECES[0]]) == [None, {"xid": 1}]
    assert joiner.open


def test_where_a_record_is_hidden_so_is_the_item_in_pieces_and_what_comes_after_is_not() -> None:
    for hidden in range(len(PIECES)):
        joiner = Joiner()
        shown = [joiner.take(n, [] if n == hidden else [None, {}, piece]) for n, piece in enumerate(PIECES)]
        assert all(len(items) <= 2 for items in shown)
        assert not joiner.open
        assert joined(PIECES) == {"op": "insert", "entity": "item"}
        *_, last = (joiner.take(n, [None, {}, piece]) for n, piece in enumerate(PIECES))
        assert last == [None, {}, {"op": "insert", "entity": "item"}]


def test_an_item_above_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "ITEM_BYTES_MAX", 30)
    with pytest.raises(RecordError, match="above the limit"):
        joined(PIECES)
    log = Log(change_bytes=20)
    with pytest.raises(Refused, match="above the limit of 30 bytes") as refused:
        log.commit(insert(row(1, b"x" * 100)))
    assert refused.value.hint == "leave item.name out of the app schema"


LARGE = [
    insert(row(1, b"a" * 500)),
    update(row(1, b"a" * 500), row(1, 'b"é'.encode() * 200)),
    delete(row(1, b"c" * 300)),
]


@given(st.lists(st.integers(0, 300), min_size=1, max_size=12), st.integers(1, 500), st.integers(8, 500))
def test_a_transaction_comes_whole_in_parts_and_pieces(sizes: list[int], part_bytes: int, change_bytes: int) -> None:
    log = Log(part_bytes=part_bytes, change_bytes=change_bytes)
    changes = [insert(row(number, b'"' * size), (ITEM, PLAIN)[number % 2]) for number, size in enumerate(sizes)]
    made = log.commit(*changes, tag(user="alice"), end=0xAA)
    joiner = Joiner()
    found: list[tuple[str, Any]] = []
    for part in made:
        own = joiner.take(part.seq, part.items())[2:]
        shapes = part.header.get("shapes", [])
        found += [(shapes[item["shape"]], item) for item in own]
        size = sum(len(canonical.dump(item.get("text", item))) for item in part.items()[2:])
        assert size <= max(change_bytes, 8) + 2
    assert not joiner.open
    assert [(item["key"]["id"], len(item["after"]["name"])) for _, item in found] == list(enumerate(sizes))
    assert len({shape for shape, _ in found}) == min(2, len(sizes))
    if len(made) > 1:
        assert [part.header["part"] for part in made] == [
            {"n": n, "last": n == len(made) - 1} for n in range(len(made))
        ]
    assert [part.items()[0] for part in made] == [{"assurance": 1, "user": "alice"}] + [None] * (len(made) - 1)
    assert (log.counts.commits, log.counts.rows) == (1, len(sizes))


def test_every_operation_passes_in_pieces() -> None:
    log, plain = Log(change_bytes=64), Log()
    joiner = Joiner()
    items = [item for part in log.commit(*LARGE) for item in joiner.take(part.seq, part.items())[2:]]
    (whole,) = plain.commit(*LARGE)
    assert items == whole.items()[2:]
    assert [item["op"] for item in items] == ["insert", "update", "delete"]


def held(log: Log, changed: dict[int, list[Any] | None]) -> None:
    """Hold a log to all rules but those of chain and tree, with other items in some of its records."""
    rules = Rules(lambda seq: "")
    for record in (Record.parse(line) for line in log.lines):
        rules.take(record, changed.get(record.seq, canonical.parse(record.body_bytes)["items"]))


def test_verify_names_pieces_that_are_not_those_of_a_change() -> None:
    log = Log(change_bytes=64)
    made = log.commit(insert(row(1, b"x" * 200)), insert(row(2)), end=0x1000)
    first = made[0].seq
    items = {part.seq: part.items() for part in made}
    pieces_of = [seq for seq in items if len(items[seq]) > 2 and "piece" in items[seq][2]]
    held(log, {})
    none: list[Any] = [None, {"xid": 9}]
    faults: dict[str, dict[int, list[Any] | None]] = {
        "first missing": {first: items[first][:2]},
        "one missing": {pieces_of[1]: none},
        "last missing": {pieces_of[-1]: none},
        "doubled": {pieces_of[1]: items[pieces_of[0]]},
        "another text": {pieces_of[1]: [*none, {**items[pieces_of[1]][2], "text": '"'}]},
        "of no entity": {
            pieces_of[0]: [
                *items[first][:2],
                {**items[first][2], "text": items[first][2]["text"].replace("item", "part")},
            ]
        },
    }
    passed = []
    for fault, changed in faults.items():
        with suppress(VerificationFailed):
            held(log, changed)
            passed.append(fault)
    assert passed == []
    for seq in items:
        held(log, {seq: None})


def test_a_commit_does_not_end_within_an_item() -> None:
    log = Log(change_bytes=64)
    made = log.commit(insert(row(1, b"x" * 200)), end=0x1000)
    assert len(made[-1].items()) == 2
    with pytest.raises(VerificationFailed, match="the last piece of a change is missing"):
        held(log, {made[-1].seq: [None, {"xid": 9}, {"piece": {"n": 0, "last": False}, "text": "{"}]})


def test_unsent_fields_stay_named() -> None:
    log = Log(change_bytes=64)
    joiner = Joiner()
    log.commit(insert(row(1, b"x" * 300)))
    made = log.commit(update([b"1", UNSENT, b"s"]), end=0x2000)
    items = [item for part in made for item in joiner.take(part.seq, part.items())[2:]]
    assert [item.get("unsent") for item in items] == [["name"]]
