"""Lines of an access log become session records: JSON lines, in Envoy's usual names (schemas/session.schema.json).

A line is taken whole or refused whole. Raw session ids are hashed here and go no further.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from ...drivers.session import hash_session
from ...transforms.request_key import mask_request
from .store import SessionRecord

LINE_BYTES_MAX = 65_536
"""Envoy's lines have some hundred bytes."""

TIME_US_END = 1 << 52
"""Times of requests, microseconds since 1970 UTC, are before it."""

VALUE_CHARS_MAX = 512
"""Longest id or user; a path is cut to it."""

DAY_MS = 86_400_000

_REQUEST = ("request_id", "x_request_id")
_USER = ("user", "x_forwarded_user", "authenticated_user")
_TRACE = ("traceparent", "trace_id")
_SESSION = ("session", "session_id")
_START = ("start_time",)
_DURATION = ("duration", "duration_ms")
_STATUS = ("response_code", "status")

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}.*", re.DOTALL)
_TRACE_ID = re.compile(r"[0-9a-f]{32}")


class MalformedLine(ValueError):
    """A line is not a session record; the text says why."""


@dataclass(frozen=True, slots=True)
class ParsedLine:
    """What a line holds.

    Args:
        record: The record.
        digest: Tells this line from others, 16 bytes.
        session_left_out: It holds a session id, and there was no key to hash it under.
    """

    record: SessionRecord
    digest: bytes
    session_left_out: bool


def parse_line(line: bytes, session_key: bytes | None) -> ParsedLine:
    """Read one line.

    Args:
        line: JSON, with or without its line end.
        session_key: COMMITLOG_SESSION_KEY; without it the session is left out.

    Raises:
        MalformedLine: It is not a record.
    """
    line = line.strip()
    values = _values(line)
    request = _text(values, _REQUEST)
    if request is None:
        raise MalformedLine("it has no request_id")
    raw = _text(values, _SESSION, chars_max=LINE_BYTES_MAX)
    session = hash_session(raw, session_key) if raw and session_key else None
    start_us = _start_us(values)
    path = _text(values, ("path",), chars_max=LINE_BYTES_MAX)
    record = SessionRecord(
        id=0,
        request=mask_request(request),
        trace_id=trace_id_of(_text(values, _TRACE)),
        user=_text(values, _USER),
        session=session,
        start_us=start_us,
        end_us=start_us + _duration_us(values),
        method=_text(values, ("method",)),
        path=path.partition("?")[0][:VALUE_CHARS_MAX] if path else None,
        status=_status(values),
    )
    # With a key a line says more than without, so it is another one.
    digest = hashlib.sha256(line + b"\0" + (session or "").encode()).digest()[:16]
    return ParsedLine(record, digest, raw is not None and session is None)


class Lines:
    """Cuts what is read from a growing file into lines. Of a line far too long it keeps enough to tell that it is."""

    def __init__(self) -> None:
        self.number = 0
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """(number from 1, line) of each line that `data` ends, blank lines left out."""
        *whole, rest = (self._rest + data).split(b"\n")
        for line in whole:
            yield from self._line(line)
        self._rest = rest[: LINE_BYTES_MAX + 1]

    def end(self) -> Iterator[tuple[int, bytes]]:
        """The last line, where the file does not end in a line end."""
        rest, self._rest = self._rest, b""
        if rest:
            yield from self._line(rest)

    def _line(self, line: bytes) -> Iterator[tuple[int, bytes]]:
        self.number += 1
        if line.strip():
            yield self.number, line


def _values(line: bytes) -> Mapping[str, object]:
    if len(line) > LINE_BYTES_MAX:
        raise MalformedLine(f"it is longer than {LINE_BYTES_MAX} bytes")
    try:
        document = json.loads(line.decode())
    except UnicodeDecodeError as exc:
        raise MalformedLine("it is not UTF-8") from exc
    except (ValueError, RecursionError) as exc:
        raise MalformedLine("it is not JSON") from exc
    if not isinstance(document, dict):
        raise MalformedLine("it is not a JSON object")
    return {key.lower().replace("-", "_"): value for key, value in cast(dict[str, object], document).items()}


def _value(values: Mapping[str, object], names: tuple[str, ...]) -> Any:
    """The first value there is; null, "" and Envoy's "-" are none."""
    return next((values[name] for name in names if values.get(name) not in (None, "", "-")), None)


def _text(values: Mapping[str, object], names: tuple[str, ...], *, chars_max: int = VALUE_CHARS_MAX) -> str | None:
    value = _value(values, names)
    if value is None:
        return None
    if not isinstance(value, str):
        raise MalformedLine(f"{names[0]} is not text")
    if len(value) > chars_max:
        raise MalformedLine(f"{names[0]} is longer than {chars_max} characters")
    try:
        value.encode()
    except UnicodeEncodeError as exc:
        raise MalformedLine(f"{names[0]} holds half a surrogate pair") from exc
    return value


def _number(value: object, name: str) -> float | None:
    """A number, as such or as text."""
    try:
        number = None if value is None or isinstance(value, bool) else float(cast(Any, value))
    except (TypeError, ValueError, OverflowError):
        number = None
    if value is not None and (number is None or not math.isfinite(number)):
        raise MalformedLine(f"{name} is not a number")
    return number


def _start_us(values: Mapping[str, object]) -> int:
    """Microseconds since 1970 UTC, of an ISO time with a zone, or of seconds since 1970; 0 where there is none."""
    value = _value(values, _START)
    if value is None:
        return 0
    if isinstance(value, str) and not value.replace(".", "", 1).isdecimal():
        try:
            moment = datetime.fromisoformat(value)
            if moment.tzinfo is None:
                raise MalformedLine("start_time has no time zone")
            begun = moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
        except (ValueError, OverflowError) as exc:
            raise exc if isinstance(exc, MalformedLine) else MalformedLine("start_time is not an ISO time") from exc
        seconds, micros = begun.days * 86_400 + begun.seconds, begun.microseconds
        start_us = seconds * 1_000_000 + micros
    else:
        since_1970 = (_number(value, "start_time") or 0.0) * 1_000_000
        # A huge number has become infinite by now, and infinity has no integer.
        start_us = round(since_1970) if math.isfinite(since_1970) else -1
    if not 0 <= start_us < TIME_US_END:
        raise MalformedLine("start_time is out of range")
    return start_us


def _duration_us(values: Mapping[str, object]) -> int:
    duration = _number(_value(values, _DURATION), "duration")
    if duration is None:
        return 0
    if not 0 <= duration <= 365 * DAY_MS:
        raise MalformedLine("duration is out of range")
    return round(duration * 1000)


def _status(values: Mapping[str, object]) -> int | None:
    status = _number(_value(values, _STATUS), "response_code")
    if status is None:
        return None
    if not (0 <= status <= 999 and status.is_integer()):
        raise MalformedLine("response_code is out of range")
    return int(status)


def trace_id_of(text: str | None) -> str | None:
    """The trace id of a traceparent, or a bare one. What is neither is a client's garbage, and none, as W3C has it."""
    lower = (text or "").lower()
    if _TRACE_ID.fullmatch(lower):
        return lower
    match = _TRACEPARENT.fullmatch(lower)
    return match[1] if match else None
