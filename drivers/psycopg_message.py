"""The statement that puts a tag into the transaction at work: one logical message, and only where it wrote."""

from . import session as sessions
from .tag import PREFIX

_BACKSLASH = ord("\\")  # a number is found sooner than bytes
_EMIT = f"SELECT pg_catalog.pg_logical_emit_message(true,'{PREFIX}',".encode()
# A transaction without a number has written nothing, and stays unwritten.
_IF_WROTE = b" WHERE pg_catalog.pg_current_xact_id_if_assigned() IS NOT NULL"

SCRIPT_STAMP = b"commitlog stamp"
"""Name of the result's column where a stamp stands among the statements of an app."""

EMIT_PARAMETER = _EMIT + b"$1)" + _IF_WROTE
"""Text with the tag as its parameter, to be prepared."""


def emit(session: sessions.Session, *, column: bytes | None = None) -> bytes:
    """Return the text that emits a session's tag, as one statement without parameters."""
    tag = session.tag.replace(b"'", b"''")
    # Only in an E string does a backslash mean the same under every standard_conforming_strings.
    literal = b"E'" + tag.replace(b"\\", b"\\\\") + b"'" if _BACKSLASH in tag else b"'" + tag + b"'"
    return _EMIT + literal + b")" + (b' AS "' + column + b'"' if column else b"") + _IF_WROTE
