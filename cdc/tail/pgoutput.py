"""The messages of the pgoutput protocol that describe tables and types, taken apart. No I/O, and no opinion on what is published.

Source: PostgreSQL manual, "Logical Replication Message Formats"; src/backend/replication/pgoutput/pgoutput.c.
"""

from collections.abc import Mapping
from struct import Struct
from types import MappingProxyType
from typing import Final

from ...schemas.errors import DecodeError
from .row_change import MALFORMED
from .transaction import Relation, RelationColumn

TAG_PREFIX: Final = b"commitlog"
NOTICE_PREFIX: Final = b"commitlog.ddl"

_u16 = Struct(">H").unpack_from
_u32 = Struct(">I").unpack_from
_type = Struct(">Ii").unpack_from


def parse_type(data: bytes) -> tuple[int, tuple[str, str]]:
    """Take a Type message apart: the type's object id, and its schema and name. Raises MALFORMED."""
    namespace, at = _string(data, 30)
    return _u32(data, 26)[0], (namespace or "pg_catalog", _string(data, at)[0])


def parse_relation(data: bytes, types: Mapping[int, tuple[str, str]] = MappingProxyType({})) -> Relation:
    """Take a Relation message apart.

    Args:
        data: The XLogData.
        types: Object id to schema and name, of the types described before.

    Raises:
        DecodeError: It is malformed.
    """
    columns: list[RelationColumn] = []
    try:
        oid = _u32(data, 26)[0]
        namespace, at = _string(data, 30)
        name, at = _string(data, at)
        identity, count = chr(data[at]), _u16(data, at + 1)[0]
        at += 3
        for _ in range(count):
            flags = data[at]
            column, at = _string(data, at + 1)
            type_oid, modifier = _type(data, at)
            columns.append(RelationColumn(column, bool(flags & 1), type_oid, modifier, types.get(type_oid)))
            at += 8
    except MALFORMED as exc:
        raise DecodeError(f"malformed relation message: {exc}") from exc
    if at != len(data):
        raise DecodeError("a relation message of another length than it says")
    return Relation(oid, namespace or "pg_catalog", name, identity, tuple(columns))


def _string(data: bytes, at: int) -> tuple[str, int]:
    end = data.index(b"\0", at)
    return data[at:end].decode(), end + 1
