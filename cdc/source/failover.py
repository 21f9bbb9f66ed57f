"""A planned failover: does the server that answers now go on from the one before, with nothing lost between them?

It does where three things are known: its timeline goes on from the log's, the old timeline did not end before the log's position,
and its slot is the old one, kept by the server as a synchronised copy (PostgreSQL 17 and later).
"""

import logging
from collections.abc import Sequence

import orjson

from ...schemas.errors import ACCEPT_GAP, HistoryLost
from ...schemas.position import format_lsn, parse_lsn
from ..config import SourceConfig
from ..log.chain import ChainWriter
from ..log.state import LogState
from ..tail.catalog import SYNCHRONISED_FROM, Identity, Slot
from ..tail.timeline import Switch, read_history, switches_since

log = logging.getLogger("commitlog")

_NEVER = 1 << 64
"""Behind every LSN."""


class Failover:
    """The places, ahead of the log, from which on its source was on another timeline.

    Attributes:
        at: The next one, as an LSN; behind every LSN where there is none.
    """

    def __init__(self, switches: Sequence[Switch] = ()) -> None:
        self._switches = list(switches)
        self.at = switches[0].at if switches else _NEVER

    @classmethod
    def between(cls, identity: Identity, slot: Slot | None, source: SourceConfig, state: LogState) -> "Failover":
        """What lies between a log and the server that answers; nothing where they are on the same timeline.

        Args:
            identity: The server, of the log's own system.
            slot: Its slot.
            source: Names the slot, and says where the server is.
            state: The log's state.

        Raises:
            HistoryLost: Nothing proves that no history was lost.
            Unreachable: The server does not answer.
            Refused: It does not tell its timelines' history.
        """
        was, now = state.genesis.get("timeline", identity.timeline), identity.timeline
        if now == was:
            return cls()
        if now < was:
            raise HistoryLost(
                f"the source is on timeline {now}, and the log on {was}: it is a server from before a failover",
                hint=f"point [source] url at the primary, or: {ACCEPT_GAP}",
            )
        if identity.version < SYNCHRONISED_FROM:
            raise _lost(
                f"the source is on timeline {now}, the log was made on {was}: it was restored or failed over, and before"
                " PostgreSQL 17 no slot goes over with it"
            )
        if slot is None or not slot.synced:
            raise _lost(
                f"the source failed over or was restored, to timeline {now}, and slot {source.slot!r} was not synchronised to it:"
                f" what came after {state.position} may be missing"
            )
        switches = switches_since(read_history(source.conninfo(), now), was)
        if not switches:
            raise _lost(f"the source is on timeline {now}, which does not go on from the log's timeline {was}")
        if switches[0].at < parse_lsn(state.position):
            raise _lost(
                f"timeline {was} ended at {format_lsn(switches[0].at)}, before the log's position {state.position}: the log"
                f" holds commits that the source, now on timeline {now}, never got"
            )
        return cls(switches)

    def record(self, state: LogState, chain: ChainWriter) -> bytes:
        """The line of the source record of the next place; from here on it is passed, and `state` knows of it."""
        switch = self._switches.pop(0)
        self.at = self._switches[0].at if self._switches else _NEVER
        state.genesis = {**state.genesis, "timeline": switch.timeline}
        item = {name: state.genesis[name] for name in ("engine", "system", "timeline", "database")}
        log.info("the source failed over: timeline %d from %s on", switch.timeline, format_lsn(switch.at))
        return chain.record("source", [orjson.dumps(item)], position=format_lsn(switch.at))


def _lost(message: str) -> HistoryLost:
    return HistoryLost(message, hint=ACCEPT_GAP)
