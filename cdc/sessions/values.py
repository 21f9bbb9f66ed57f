"""Session records as keys and values of the topic PREFIX.sessions (schemas/README.md §10).

A value that begins with the two bytes of Avro's single-object encoding is Avro; no JSON can begin with them, for they are not
UTF-8. Any other value is a line of an access log, as `sessions import` reads it.
"""

import hashlib
import importlib
import json
from importlib.resources import files
from io import BytesIO
from typing import Any

from ...transforms.request_key import mask_request
from .access_log import LINE_BYTES_MAX, TIME_US_END, VALUE_CHARS_MAX, MalformedLine, ParsedLine, parse_line, trace_id_of
from .store import SessionRecord

AVRO_MARK = b"\xc3\x01"
"""How Avro's single-object encoding begins. Source: Avro 1.11 specification, "Single-object encoding"."""

REGISTRY_MARK = b"\0"
"""How values begin whose schema is a number in a registry of schemas."""

_SCHEMA_FILE = "session.avsc"
# Not imported by name: half of its types are unknown.
_avro: Any = importlib.import_module("fastavro")
_avro_schema: Any = importlib.import_module("fastavro.schema")
_DOCUMENT: Any = json.loads(files("commitlog.schemas").joinpath(_SCHEMA_FILE).read_text(encoding="utf-8"))
_SCHEMA: Any = _avro.parse_schema(_DOCUMENT)
FINGERPRINT = bytes.fromhex(_avro_schema.fingerprint(_avro_schema.to_parsing_canonical_form(_DOCUMENT), "CRC-64-AVRO"))
"""Of schemas/session.avsc, 8 bytes, the least first."""

_FIELDS: tuple[str, ...] = tuple(field["name"] for field in _DOCUMENT["fields"])
_TEXTS = ("request", "trace_id", "user", "session", "method", "path")


def encode(record: SessionRecord) -> bytes:
    """A record as Avro."""
    value = BytesIO()
    value.write(AVRO_MARK + FINGERPRINT)
    _avro.schemaless_writer(value, _SCHEMA, {name: getattr(record, name) for name in _FIELDS})
    return value.getvalue()


def key_of(parsed: ParsedLine) -> bytes:
    """The key of what a line says: its request and the line, so that compaction keeps each hop's record of a request, once."""
    return f"{parsed.record.request}/{parsed.digest.hex()}".encode()


def identity_of(key: bytes) -> bytes:
    """What tells the record of a key from others, 16 bytes."""
    return hashlib.sha256(key).digest()[:16]


def decode(value: bytes, session_key: bytes | None) -> tuple[SessionRecord, bool]:
    """Read a value.

    Args:
        value: Of a message.
        session_key: COMMITLOG_SESSION_KEY, for values of JSON, which hold the raw session id.

    Returns:
        The record, and whether a session id was left out for want of a key.

    Raises:
        MalformedLine: It is neither Avro of our schema nor a line of an access log.
    """
    if value.startswith(AVRO_MARK):
        return _checked(_datum(value)), False
    if value.startswith(REGISTRY_MARK):
        raise MalformedLine(
            "its schema is in a registry of schemas, which is not asked: write single-object Avro, or JSON"
        )
    parsed = parse_line(value, session_key)
    return parsed.record, parsed.session_left_out


def _datum(value: bytes) -> Any:
    if len(value) > LINE_BYTES_MAX:
        raise MalformedLine(f"it is longer than {LINE_BYTES_MAX} bytes")
    start = len(AVRO_MARK) + len(FINGERPRINT)
    if value[len(AVRO_MARK) : start] != FINGERPRINT:
        raise MalformedLine(f"it is Avro of another schema than {_SCHEMA_FILE}")
    stream = BytesIO(value[start:])
    try:
        datum: Any = _avro.schemaless_reader(stream, _SCHEMA, None)
    except (EOFError, ValueError, IndexError, TypeError, OverflowError) as exc:
        raise MalformedLine("it is damaged Avro") from exc
    if stream.read(1):
        raise MalformedLine("something follows its Avro")
    return datum


def _checked(datum: Any) -> SessionRecord:
    for name in _TEXTS:
        if len(datum[name] or "") > VALUE_CHARS_MAX:
            raise MalformedLine(f"{name} is longer than {VALUE_CHARS_MAX} characters")
    if not datum["request"]:
        raise MalformedLine("it has no request")
    start_us, end_us, status = datum["start_us"], datum["end_us"], datum["status"]
    if not (0 <= start_us < TIME_US_END and 0 <= end_us < TIME_US_END):
        raise MalformedLine("start_us or end_us is out of range")
    if not 0 <= (status or 0) <= 999:
        raise MalformedLine("status is out of range")
    return SessionRecord(
        id=0,
        request=mask_request(datum["request"]),
        trace_id=trace_id_of(datum["trace_id"]),
        user=datum["user"] or None,
        session=datum["session"] or None,
        start_us=start_us,
        end_us=max(start_us, end_us),
        method=datum["method"] or None,
        path=(datum["path"] or "").partition("?")[0] or None,
        status=status,
    )
