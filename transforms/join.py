"""A transaction's tag and the mesh's record of its session become `by`, the provenance of a commit.

A tag is a claim (assurance 1). A session record of the mesh for the same request makes it corroborated (2), when nothing in
it contradicts the tag. What is malformed is named in `meta` and never guessed.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, cast

import orjson

from .pseudonym import Pseudonyms

VALUE_CHARS_MAX = 512
"""Longest string taken over from a tag: twice what the drivers write, far below what hurts a reader."""

FIELDS = ("user", "request", "session", "traceparent", "app", "version", "build", "cause")
"""What a tag may say, in the order of the record."""

CORROBORATION_WINDOW_US = 3_600_000_000
"""A session record counts for commits within an hour of its request: a request id seen again later is no witness."""


class Session(Protocol):
    """What the mesh recorded of a request; times in microseconds since 1970 UTC, 0 for unknown."""

    @property
    def user(self) -> str | None: ...
    @property
    def session(self) -> str | None: ...
    @property
    def trace_id(self) -> str | None: ...
    @property
    def start_us(self) -> int: ...
    @property
    def end_us(self) -> int: ...


Lookup = Callable[[str, int], Session | None]
"""Request id, as the tag has it, and the commit's time in microseconds since 1970 UTC, to the mesh's record of the request."""


class Provenance(NamedTuple):
    """Who made a commit.

    Args:
        by: The JSON of item 0.
        build: The build the tag names, or empty.
        version: The version the tag names, or empty.
        app: The app the tag names, or empty.
        trouble: What `meta.tag` says of an unusable tag, or empty.
        assurance: 0 untagged, 1 claimed, 2 corroborated.
    """

    by: bytes
    build: str = ""
    version: str = ""
    app: str = ""
    trouble: str = ""
    assurance: int = 0


UNTAGGED = Provenance(b"null")
MALFORMED = Provenance(b"null", trouble="malformed")
TOO_LARGE = Provenance(b"null", trouble="too_large")


def join(
    tag: bytes, *, tag_bytes_max: int, time_us: int, lookup: Lookup, pseudonyms: Pseudonyms | None = None
) -> Provenance:
    """Read a tag and look its request up.

    Args:
        tag: The tag as the database logged it.
        tag_bytes_max: A longer tag is not read at all.
        time_us: The commit's time, microseconds since 1970 UTC.
        lookup: Finds the session record of a request.
        pseudonyms: Hide who and which request, in a log for others.
    """
    if len(tag) > tag_bytes_max:
        return TOO_LARGE
    try:
        parsed: object = orjson.loads(tag)
    except orjson.JSONDecodeError:
        return MALFORMED
    if not isinstance(parsed, dict):
        return MALFORMED
    claims = cast(dict[str, object], parsed)
    by: dict[str, Any] = {"assurance": 1}
    for name in FIELDS:
        if name in claims:
            value = claims[name]
            if type(value) is not str or len(value) > VALUE_CHARS_MAX:
                return MALFORMED
            by[name] = value
    if len(by) == 1:
        return MALFORMED
    if claims.get("cut") is True:
        by["cut"] = True
    request = by.get("request")
    session = lookup(request, time_us) if request else None
    if session is not None:
        by = corroborated(by, session, time_us)
    shown = by if pseudonyms is None else pseudonyms.hide(by)
    return Provenance(
        orjson.dumps(shown), by.get("build", ""), by.get("version", ""), by.get("app", ""), "", by["assurance"]
    )


def corroborated(by: Mapping[str, Any], session: Session, time_us: int) -> dict[str, Any]:
    """`by` as the mesh's record of its request makes it; unchanged where the record contradicts the tag.

    The record's user and session hold over the tag's; a tag that named another user is kept under `claims`.
    """
    traceparent = by.get("traceparent", "")
    if traceparent and session.trace_id and session.trace_id != traceparent[3:35]:
        return dict(by)
    if session.start_us and not (
        session.start_us - CORROBORATION_WINDOW_US
        <= time_us
        <= max(session.start_us, session.end_us) + CORROBORATION_WINDOW_US
    ):
        return dict(by)
    found = {"user": session.user, "session": session.session}
    joined = {**by, **{name: value for name, value in found.items() if value}}
    claimed = by.get("user")
    out: dict[str, Any] = {"assurance": 2}
    out.update((name, joined[name]) for name in FIELDS if name in joined)
    if "cut" in joined:
        out["cut"] = True
    if claimed and claimed != out.get("user"):
        out["claims"] = {"user": claimed}
    return out
