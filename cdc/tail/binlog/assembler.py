"""Events in, whole transactions out, in commit order. No I/O.

Source: MySQL, libs/mysql/binlog/event; MariaDB, sql/log_event.h.
"""

import zlib
from collections.abc import Callable, Mapping
from typing import Final, Literal

from ....schemas.change import DELETE, INSERT, UPDATE
from ....schemas.errors import ACCEPT_GAP, DecodeError, HistoryLost
from ... import native
from ..row_change import MALFORMED
from ..transaction import Transaction
from . import event as events
from .compressed import COMPRESSED, open_payload, plain_event
from .event import CHECKSUM_BYTES, HEADER_BYTES, IGNORABLE, event_name, header, whole
from .format import check_format
from .group import Group
from .gtid import GroupStart, parse_gtid, parse_mariadb_gtid, parse_tagged_gtid
from .place import Place
from .prepared import Prepared
from .query import kind_of, parse_query, savepoint_name, xa_id, xa_id_of
from .rows import Plain, PythonRowReader, RowReader, UnreadRows
from .table_map import parse_table_map
from .transaction import BinlogTransaction

_TABLES_KEPT: Final = 10_000
_NO_TABLE: Final = 0xFFFFFF
"""Table id of a rows event that only ends a statement."""

_OPERATIONS: Final = {
    events.WRITE_ROWS_V1: INSERT,
    events.UPDATE_ROWS_V1: UPDATE,
    events.DELETE_ROWS_V1: DELETE,
    events.WRITE_ROWS: INSERT,
    events.UPDATE_ROWS: UPDATE,
    events.DELETE_ROWS: DELETE,
    events.PARTIAL_UPDATE_ROWS: UPDATE,
}
_NOTHING: Final = frozenset(
    (
        events.STOP,
        # What a statement in text needs beside; it is refused itself.
        events.INTVAR,
        events.RAND,
        events.USER_VAR,
        events.HEARTBEAT,
        events.HEARTBEAT_V2,
        events.ROWS_QUERY,
        events.ANNOTATE_ROWS,
        events.PREVIOUS_GTIDS,
        events.GTID_LIST,
        events.BINLOG_CHECKPOINT,
        # MariaDB's file is encrypted on disk; its events are sent in clear.
        events.START_ENCRYPTION,
        # Group Replication's own.
        events.TRANSACTION_CONTEXT,
        events.VIEW_CHANGE,
    )
)
"""Events that say nothing of rows."""

_BROKEN: Final = (*MALFORMED, KeyError, OverflowError, zlib.error)
_ROW_FORMAT: Final = f"SET GLOBAL binlog_format = ROW, reconnect the sessions that have another one, then {ACCEPT_GAP}"


class BinlogAssembler:
    """Collects the events of a dump into transactions.

    Args:
        spill_bytes: A transaction with more bytes of rows than this goes to a temporary file.
        flavour: Whose binlog it is.
        server_uuid: The server's, for messages.
        known: Transactions that end at this position or before were seen in an earlier dump: what they need of
            events before this dump (XA PREPARE) may be missing.
    """

    def __init__(
        self, spill_bytes: int, *, flavour: Literal["mysql", "mariadb"], server_uuid: str, known: int = 0
    ) -> None:
        self._spill_bytes = spill_bytes
        self._flavour: Literal["mysql", "mariadb"] = flavour
        self._server_uuid = server_uuid
        self._known = known
        self._place = Place()
        self._prepared = Prepared()
        self._group: Group | None = None
        self._tables: dict[bytes, PythonRowReader] = {}
        self._plain: dict[bytes, Plain] = {}
        self._mapped: dict[int, PythonRowReader] = {}
        self._seconds = 0
        self._handlers: Mapping[int, Callable[[int, bytes], BinlogTransaction | None]] = self._handlers_of(flavour)

    @property
    def position(self) -> int:
        """The position behind the last event that lies in no unfinished group: where a reader goes on."""
        return self._place.behind if self._group is None else self._group.position

    @property
    def file(self) -> str:
        """The name of the file that is being read."""
        return self._place.file

    @property
    def in_transaction(self) -> bool:
        """Whether a group has begun and not yet ended."""
        return self._group is not None

    @property
    def held(self) -> Mapping[str, int]:
        """The XA transactions that are prepared and not yet decided, each with the position at which its group begins.

        Who starts a new dump starts it there, and gives the last position it has as `known`.
        """
        return self._prepared.positions

    def feed(self, event: bytes) -> BinlogTransaction | None:
        """Take one event, its header before and its checksum behind it; return the transaction that ends with it.

        Every group gives a transaction, with no changes where it has none: DDL, XA PREPARE, an empty one.

        Raises:
            DecodeError: The bytes are no event, were changed on the way, or stand where none may; a statement stands in
                the place of rows; a kind of event or a type that is not known here.
            HistoryLost: The server says that events are missing.
        """
        self._place.before = self._place.behind
        try:
            return self._feed(event)
        except DecodeError as exc:
            raise DecodeError(f"{exc}, at {self._place} of server {self._server_uuid}", hint=exc.hint) from exc
        except _BROKEN as exc:
            raise DecodeError(
                f"malformed {self._name(event)} event at {self._place} of server {self._server_uuid}: {exc}"
            ) from exc

    def drain(self, packets: bytes | bytearray, at: int, out: list[Transaction], room: int) -> int:
        """Take plain groups that are whole in a buffer, where the compiled part is there; `feed` takes what follows.

        Args:
            packets: As the server sends them: length, number, status byte, event.
            at: Where to begin in them, between two packets.
            out: The transactions are put behind these.
            room: How many bytes to take at most, or a group more.

        Returns:
            Where to go on in them.
        """
        if not native.COMPILED or self._group is not None:
            return at
        place = self._place
        at, place.behind = native.binlog_groups(
            packets,
            at,
            room,
            place.behind,
            self._plain,
            self._flavour == "mariadb",
            self._spill_bytes,
            BinlogTransaction,
            out,
        )
        return at

    def close(self) -> None:
        """Drop what is in hand, and the temporary files."""
        if self._group is not None:
            self._group.close()
            self._group = None
        self._prepared.close()

    def _name(self, event: bytes) -> str:
        return event_name(event[4]) if len(event) > 4 else "binlog"

    def _feed(self, event: bytes) -> BinlogTransaction | None:
        if len(event) < HEADER_BYTES + CHECKSUM_BYTES:
            raise DecodeError(f"an event of {len(event)} bytes")
        seconds, kind, _, size, end, flags = header(event)
        if size != len(event):
            raise DecodeError(f"{event_name(kind)} of {len(event)} bytes, which says that it has {size}")
        body = event[:-CHECKSUM_BYTES]
        if kind == events.FORMAT_DESCRIPTION:
            check_format(body)
        if zlib.crc32(body) != int.from_bytes(event[-CHECKSUM_BYTES:], "little"):
            raise DecodeError(
                f"{event_name(kind)} was changed on its way: its checksum is of other bytes",
                hint="start the worker again; if it stops here again, the server's file is damaged: commitlog resume --accept-gap",
            )
        self._place.move(kind, size, end, flags)
        self._seconds = seconds
        return self._take(kind, body, flags)

    def _take(self, kind: int, body: bytes, flags: int) -> BinlogTransaction | None:
        handler = self._handlers.get(kind)
        if handler is not None:
            return handler(kind, body)
        if kind in _NOTHING or flags & IGNORABLE:
            return None
        raise DecodeError(f"{event_name(kind)}, an event that is not known here")

    def _handlers_of(self, flavour: str) -> dict[int, Callable[[int, bytes], BinlogTransaction | None]]:
        handlers: dict[int, Callable[[int, bytes], BinlogTransaction | None]] = {
            events.FORMAT_DESCRIPTION: self._new_file,
            events.ROTATE: self._rotate,
            events.QUERY: self._query,
            events.XID: self._xid,
            events.XA_PREPARE: self._xa_prepare,
            events.TABLE_MAP: self._table_map,
            events.INCIDENT: self._incident,
            **dict.fromkeys(_OPERATIONS, self._rows),
        }
        if flavour == "mysql":
            return handlers | {
                events.GTID: self._gtid,
                events.GTID_TAGGED: self._gtid,
                events.ANONYMOUS_GTID: self._anonymous,
                events.TRANSACTION_PAYLOAD: self._payload,
            }
        return handlers | {
            events.MARIADB_GTID: self._gtid,
            events.PARTIAL_ROW_DATA: self._refused,
            **dict.fromkeys(COMPRESSED, self._compressed),
        }

    def _rotate(self, _: int, body: bytes) -> None:
        self._drop_unfinished()
        self._place.rotate(body)

    def _new_file(self, _: int, __: bytes) -> None:
        self._drop_unfinished()

    def _drop_unfinished(self) -> None:
        """A group that does not end in its file was never committed: the server died while it wrote it."""
        if self._group is not None:
            self._group.close()
            self._group = None

    def _gtid(self, kind: int, body: bytes) -> None:
        if kind == events.MARIADB_GTID:
            self._begin(parse_mariadb_gtid(body, header(body)[2]))
        else:
            self._begin(parse_gtid(body) if kind == events.GTID else parse_tagged_gtid(body))

    def _begin(self, start: GroupStart) -> None:
        if self._group is not None:
            raise DecodeError(f"group {start.gtid} begins inside {self._group.start.gtid}")
        self._group = Group(start, self._place.before, self._spill_bytes)
        self._mapped.clear()

    def _anonymous(self, _: int, __: bytes) -> None:
        raise DecodeError("a transaction without a GTID", hint=f"SET GLOBAL gtid_mode = ON, then {ACCEPT_GAP}")

    def _incident(self, _: int, body: bytes) -> None:
        length = body[HEADER_BYTES + 2]
        message = body[HEADER_BYTES + 3 : HEADER_BYTES + 3 + length].decode(errors="replace")
        raise HistoryLost(
            f"the server lost events before {self._place}: {message or 'an incident'}",
            hint=f"{ACCEPT_GAP}, with a new snapshot",
        )

    def _refused(self, kind: int, _: bytes) -> None:
        raise DecodeError(f"{event_name(kind)}, which is not read here")

    def _query(self, _: int, body: bytes) -> BinlogTransaction | None:
        statement = parse_query(body)
        kind = kind_of(statement.text)
        if kind == "empty":
            return None
        group = self._in_group(kind)
        match kind:
            case "begin" | "xa start":
                if group.begun:
                    raise DecodeError(f"a {kind} inside group {group.start.gtid}")
                group.begun = True
            case "xa end":
                pass
            case "savepoint":
                group.savepoint(savepoint_name(statement.text))
            case "rollback to":
                group.roll_back_to(savepoint_name(statement.text))
            case "commit":
                return self._commit(group)
            case "rollback":
                # In a log of rows the changes that cannot be rolled back stand in groups of their own.
                group.roll_back()
                return self._commit(group)
            case "xa commit" | "xa rollback":
                return self._decide(group, xa_id_of(statement.text), commit=kind == "xa commit")
            case "dml":
                raise DecodeError(
                    f"a statement that changes rows stands in the binlog instead of the rows (in database {statement.database!r})",
                    hint=_ROW_FORMAT,
                )
            case "other":
                group.statements.append(statement)
                return None if group.begun else self._commit(group)
        return None

    def _in_group(self, what: str) -> Group:
        if self._group is None:
            raise DecodeError(f"{what} outside of all groups")
        return self._group

    def _xid(self, _: int, __: bytes) -> BinlogTransaction:
        return self._commit(self._in_group("XID"))

    def _commit(self, group: Group) -> BinlogTransaction:
        self._group = None
        return group.transaction(self._place.behind, self._seconds * 1_000_000)

    def _xa_prepare(self, _: int, body: bytes) -> BinlogTransaction:
        group = self._in_group("XA PREPARE")
        at = HEADER_BYTES
        format_id, gtrid, bqual = (int.from_bytes(whole(body, i, i + 4), "little") for i in (at + 1, at + 5, at + 9))
        if body[at]:  # one phase
            return self._commit(group)
        name = whole(body, at + 13, at + 13 + gtrid + bqual)
        self._prepared.hold(xa_id(name[:gtrid], name[gtrid:], format_id), group)
        return self._commit(Group(group.start, group.position, self._spill_bytes))

    def _decide(self, group: Group, xa_id: str, *, commit: bool) -> BinlogTransaction:
        prepared = self._prepared.take(xa_id)
        if prepared is None:
            if commit and self._place.behind > self._known:
                raise DecodeError(
                    f"XA transaction {xa_id} is committed, and was prepared before all that was read here"
                )
            return self._commit(group)
        if not commit:
            prepared.close()
            return self._commit(group)
        prepared.start = group.start
        return self._commit(prepared)

    def _table_map(self, _: int, body: bytes) -> None:
        self._in_group("TABLE_MAP")
        description = body[HEADER_BYTES:]
        table = self._tables.get(description)
        if table is None:
            if len(self._tables) >= _TABLES_KEPT:
                self._tables.clear()
                self._plain.clear()
            described = parse_table_map(body, self._flavour)
            reader = RowReader if described.relation.unreadable is None else UnreadRows
            table = self._tables[description] = reader(described)
            if table.plain is not None:
                self._plain[description] = table.plain
        self._mapped[int.from_bytes(description[:6], "little")] = table

    def _rows(self, kind: int, body: bytes) -> None:
        group = self._in_group("rows")
        table_id = int.from_bytes(whole(body, HEADER_BYTES, HEADER_BYTES + 6), "little")
        reader = self._mapped.get(table_id)
        if reader is None:
            if table_id == _NO_TABLE:
                return
            raise DecodeError(f"rows of a table that was never described (id {table_id})")
        partial = kind == events.PARTIAL_UPDATE_ROWS
        rows = reader.read(_OPERATIONS[kind], body, extra=kind >= events.WRITE_ROWS, partial=partial)
        if reader.table.tag is None:
            group.keep(reader.table.relation, rows, len(body))
        else:
            for content in reader.tags(rows):
                group.tag(content)

    def _compressed(self, kind: int, body: bytes) -> BinlogTransaction | None:
        return self._take(*plain_event(kind, body), 0)

    def _payload(self, _: int, body: bytes) -> BinlogTransaction | None:
        done: BinlogTransaction | None = None
        for inner in open_payload(body):
            if done is not None:
                raise DecodeError("a compressed transaction with events behind its end")
            _, kind, _, _, _, flags = header(inner)
            done = self._take(kind, inner, flags)
        if done is None:
            raise DecodeError("a compressed transaction that does not end")
        return done
