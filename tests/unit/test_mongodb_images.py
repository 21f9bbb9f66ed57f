"""Pre-images are taken out of the server's replies as they stand there, or not at all."""

import struct
from contextlib import suppress

import bson
import pytest
from bson import Binary, Timestamp
from hypothesis import given
from hypothesis import strategies as st

from commitlog.cdc.tail.mongodb_images import _take
from commitlog.cdc.tail.oplog.images import ImageKey
from commitlog.schemas.errors import DecodeError

UUID = b"0123456789abcdef"
documents = st.dictionaries(
    st.text("abc", min_size=1), st.integers(-9, 9) | st.text(max_size=5) | st.none(), max_size=3
)


def image(document: dict[str, object], seconds: int, number: int, place: int, **more: object) -> bytes:
    key = {"nsUUID": Binary(UUID, 4), "ts": Timestamp(seconds, number), "applyOpsIndex": bson.Int64(place)}
    told = {"operationTime": bson.DatetimeMS(seconds * 1000), "preImage": document}
    return bson.encode({"_id": key, **told, **more})


def taken(batch: bytes) -> dict[ImageKey, bytes]:
    images: dict[ImageKey, bytes] = {}
    _take(batch, images)
    return images


@given(
    st.lists(
        st.tuples(documents, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**31), st.booleans())
    )
)
def test_each_has_its_place_and_its_bytes(told: list[tuple[dict[str, object], int, int, int, bool]]) -> None:
    """Also one that a later server writes with more than these keys."""
    batch = b"".join(image(d, t, n, p, **({"more": 1} if odd else {})) for d, t, n, p, odd in told)

    assert taken(batch) == {(t << 32 | n, p): bson.encode(d) for d, t, n, p, _ in told}


@given(documents, st.data())
def test_what_is_cut_or_changed_is_refused_or_another_one_but_never_a_fault(
    document: dict[str, object], data: st.DataObject
) -> None:
    whole = image(document, 7, 8, 9)
    cut = data.draw(st.integers(1, len(whole) - 1))
    with pytest.raises(DecodeError):
        taken(whole[:cut])
    at, byte = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 255))
    with suppress(DecodeError):
        taken(whole[:at] + bytes((byte,)) + whole[at + 1 :])


def test_a_size_that_leads_nowhere_is_refused() -> None:
    whole = image({"a": 1}, 1, 1, 1)
    for size in (0, -5, 3):
        with pytest.raises(DecodeError):
            taken(struct.pack("<i", size) + whole[4:])
