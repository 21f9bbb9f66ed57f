"""Whatever a dump holds, the decoder answers with a transaction, or with an error of ours: never with another one, never without end."""

import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commitlog.cdc.tail.binlog.assembler import BinlogAssembler
from commitlog.cdc.tail.binlog.json_diff import apply_diffs
from commitlog.cdc.tail.binlog.json_text import parse, to_text
from commitlog.cdc.tail.row_change import MALFORMED, parse_change
from commitlog.schemas.errors import DecodeError, HistoryLost
from fixtures.binlog_events import FLAVOURS, Flavour, events
from fixtures.json_binary import binary


def sealed(event: bytes) -> bytes:
    """With the size and the checksum of what it is now."""
    body = event[:9] + len(event).to_bytes(4, "little") + event[13:-4]
    return body + zlib.crc32(body).to_bytes(4, "little")


DUMPS = {flavour: events(flavour) for flavour in FLAVOURS}


@given(
    st.sampled_from(FLAVOURS),
    st.integers(0, 200),
    st.integers(0, 2000),
    st.binary(min_size=1, max_size=8),
    st.sampled_from(["over", "into", "cut"]),
)
def test_a_damaged_event_with_a_right_checksum_is_an_error_of_ours_or_none(
    flavour: Flavour, place: int, at: int, damage: bytes, how: str
) -> None:
    dump = DUMPS[flavour]
    place %= len(dump)
    event = dump[place]
    at = 4 + at % (len(event) - 8)
    rest = {"over": event[at + len(damage) :], "into": event[at:], "cut": event[-4:]}[how]
    into = BinlogAssembler(1 << 20, flavour=flavour, server_uuid="a-server")
    for before in dump[:place]:
        into.feed(before)
    with suppress(DecodeError, HistoryLost):
        for after in (sealed(event[:at] + damage + rest), *dump[place + 1 :]):
            transaction = into.feed(after)
            for _, change in transaction.changes if transaction else ():
                parse_change(change)
    into.close()


@given(st.lists(st.binary(max_size=80), max_size=4), st.sampled_from(FLAVOURS))
def test_bytes_that_are_no_events_are_an_error_of_ours(stream: list[bytes], flavour: Flavour) -> None:
    into = BinlogAssembler(1 << 20, flavour=flavour, server_uuid="a-server")
    for data in stream:
        with pytest.raises(DecodeError):
            into.feed(data)


@given(st.binary(max_size=120))
def test_documents_that_are_none_are_malformed(data: bytes) -> None:
    with suppress(*MALFORMED, KeyError):
        to_text(parse(data))


DOCUMENT = binary({"k": [1, 2, 3], "z": {"q r": 1}, "é": None})

DIFFS = {
    bytes([0, 6]) + b"$.k[1]" + bytes([2, 4, 0]): b'{"k": [1, null, 3], "z": {"q r": 1}, "\xc3\xa9": null}',
    bytes([1, 6]) + b"$.k[0]" + bytes([2, 4, 1]): b'{"k": [true, 1, 2, 3], "z": {"q r": 1}, "\xc3\xa9": null}',
    bytes([1, 6]) + b"$.k[9]" + bytes([2, 4, 1]): b'{"k": [1, 2, 3, true], "z": {"q r": 1}, "\xc3\xa9": null}',
    bytes([2, 9]) + b'$.z."q r"': b'{"k": [1, 2, 3], "z": {}, "\xc3\xa9": null}',
    bytes([1, 4]) + b"$.aa" + bytes([2, 4, 1]): b'{"k": [1, 2, 3], "z": {"q r": 1}, "aa": true, "\xc3\xa9": null}',
    bytes([0, 1]) + b"$" + bytes([2, 4, 2]): b"false",
    bytes([2, 4]) + "$.é".encode() + bytes([2, 6]) + b"$.k[0]": b'{"k": [2, 3], "z": {"q r": 1}}',
    bytes([0, 9]) + b"$.k[last]" + bytes([2, 4, 0]): b'{"k": [1, 2, null], "z": {"q r": 1}, "\xc3\xa9": null}',
    bytes([2, 11]) + b"$.k[last-2]": b'{"k": [2, 3], "z": {"q r": 1}, "\xc3\xa9": null}',
    bytes([1, 11]) + b"$.k[last-7]" + bytes([2, 4, 1]): b'{"k": [true, 1, 2, 3], "z": {"q r": 1}, "\xc3\xa9": null}',
    b"": b'{"k": [1, 2, 3], "z": {"q r": 1}, "\xc3\xa9": null}',
}


@pytest.mark.parametrize("diffs", DIFFS)
def test_differences_make_the_new_document(diffs: bytes) -> None:
    assert to_text(apply_diffs(DOCUMENT, diffs)) == DIFFS[diffs]


@pytest.mark.parametrize(
    "diffs",
    [
        bytes([0, 4]) + b"$.no" + bytes([2, 4, 1]),  # replaces what is not there
        bytes([2, 6]) + b"$.k[3]",  # removes what is not there
        bytes([2, 11]) + b"$.k[last-3]",
        bytes([1, 3]) + b"$.k" + bytes([2, 4, 1]),  # puts in what is there
        bytes([2, 1]) + b"$",
        bytes([3, 3]) + b"$.k",
        bytes([2, 3]) + b"$k.",
        bytes([0, 3]) + b"$.k",
    ],
)
def test_differences_that_are_not_of_the_document_are_malformed(diffs: bytes) -> None:
    with pytest.raises(MALFORMED):
        apply_diffs(DOCUMENT, diffs)


@given(st.binary(max_size=40))
def test_differences_that_are_none_are_malformed(diffs: bytes) -> None:
    with suppress(*MALFORMED, KeyError):
        apply_diffs(DOCUMENT, diffs)
