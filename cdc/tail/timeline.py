"""PostgreSQL's timelines: each promotion of a standby begins a new one, and the server keeps where it went on from which.

Source: PostgreSQL manual, "Timelines" and "Streaming Replication Protocol"; src/backend/access/transam/timeline.c.
"""

from dataclasses import dataclass

from psycopg import pq

from ...schemas.errors import DecodeError, Refused
from ...schemas.position import parse_lsn
from .postgres import connect


@dataclass(frozen=True, slots=True)
class Switch:
    """A place in the WAL from which on another timeline goes on.

    Args:
        at: The LSN; what ends at or before it is the same on both.
        timeline: The one that begins there.
    """

    at: int
    timeline: int


def parse_history(text: str, timeline: int) -> list[tuple[int, Switch]]:
    """The contents of a timeline's history file: (timeline that ended, where and to which), oldest first.

    Raises:
        DecodeError: It is not one.
    """
    lines = [line.split("\t") for line in text.splitlines() if line.strip() and not line.startswith("#")]
    try:
        ended = [(int(fields[0]), parse_lsn(fields[1])) for fields in lines]
    except (ValueError, IndexError) as exc:
        raise DecodeError(f"the history of timeline {timeline} cannot be read: {exc}") from exc
    begun = [*(number for number, _ in ended[1:]), timeline]
    return [(number, Switch(at, after)) for (number, at), after in zip(ended, begun, strict=True)]


def switches_since(history: list[tuple[int, Switch]], timeline: int) -> list[Switch]:
    """The switches that lead on from a timeline, in their order; empty where it is not in the history."""
    numbers = [number for number, _ in history]
    return [switch for _, switch in history[numbers.index(timeline) :]] if timeline in numbers else []


def read_history(url: str, timeline: int) -> list[tuple[int, Switch]]:
    """Ask a server for a timeline's history; the first timeline has none.

    Raises:
        Unreachable: The server does not answer.
        Refused: The server has lost it.
    """
    if timeline == 1:
        return []
    with connect(url) as connection:
        result = connection.pgconn.exec_(f"TIMELINE_HISTORY {timeline:d}".encode())
        if result.status != pq.ExecStatus.TUPLES_OK:
            raise Refused(
                f"the server does not tell the history of its timeline {timeline}:"
                f" {' '.join(result.get_error_message().split())}",
                hint=f"put pg_wal/{timeline:08X}.history back, from the archive or another server",
            )
        return parse_history((result.get_value(0, 1) or b"").decode(errors="replace"), timeline)
