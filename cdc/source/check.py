"""Does the source still hold what the log needs to go on? Asked before every start of the stream, and now and then while it runs.

Each way of losing history has its own message; none is passed over, because a gap that nobody is told of is the one fault that
a log cannot mend.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from ...schemas.errors import ACCEPT_GAP, HistoryLost, Refused, Unreachable
from ...schemas.position import format_lsn, parse_lsn
from ...transforms.registry import Registry
from ..config import SourceConfig
from ..log.chain import Clock
from ..log.state import LogState
from ..tail.transaction import Transaction
from .step import mapped as mapped

if TYPE_CHECKING:  # the driver is not needed to compare what it has read
    from ..tail.catalog import Catalog, Identity, Slot

FIND_PRIMARY = (
    "point [source] url at the primary; a url that lists all servers and says target_session_attrs=read-write finds it"
)
SERVER_VERSION_MIN = 140000

_INVALIDATED = {
    "wal_removed": "the server removed WAL that the log still needs (max_slot_wal_keep_size)",
    "idle_timeout": "no worker read it for longer than idle_replication_slot_timeout allows",
    "wal_level_insufficient": "the server ran with another wal_level than logical for a while",
    "rows_removed": "the server removed catalog rows that decoding still needs",
}
"""What pg_replication_slots.invalidation_reason means for a log; before PostgreSQL 17 only the first can be."""


def check_primary(identity: "Identity") -> None:
    """Does the source take writes?

    Raises:
        Unreachable: It is a standby: the primary is somewhere else, or this one is just being promoted.
    """
    if identity.standby:
        raise Unreachable("the source is a standby, which takes no writes and cannot be tailed", hint=FIND_PRIMARY)


def check_identity(identity: "Identity", state: LogState) -> None:
    """Is this the database the log was made from?

    Raises:
        HistoryLost: Another server or database, or one that stands before the log's position.
        Refused: The server is too old.
        Unreachable: It is a standby: the primary is somewhere else, or this one is just being promoted.
    """
    if identity.version < SERVER_VERSION_MIN:
        raise Refused("the source is older than PostgreSQL 14, which cannot log tags", hint="upgrade the server")
    check_primary(identity)
    genesis = state.genesis
    if not genesis:
        return
    if identity.system != genesis["system"] or identity.database != genesis["database"]:
        raise HistoryLost(
            f"the source is another database: system {identity.system} database {identity.database!r}, the log was made from"
            f" {genesis['system']} {genesis['database']!r}",
            hint=f"correct [source] url, or: {ACCEPT_GAP}",
        )
    position = parse_lsn(state.position)
    if identity.timeline == genesis["timeline"] and identity.wal_end < position:
        raise HistoryLost(
            f"the source ends at {format_lsn(identity.wal_end)}, before the log's position {state.position}: it was restored",
            hint=ACCEPT_GAP,
        )


def lost_because(slot: "Slot") -> str:
    """Why the server gave a slot up that is lost."""
    return _INVALIDATED.get(slot.invalidation, _INVALIDATED["wal_removed"])


def check_slot(slot: "Slot | None", source: SourceConfig, state: LogState) -> "Slot":
    """Does the slot still hold everything after the log's position?

    Raises:
        HistoryLost: It does not, or is gone.
        Refused: The log is new and there is no slot yet, or it is not one of ours.
    """
    if slot is None:
        if not state.genesis:
            raise Refused(f"the source has no slot {source.slot!r} yet", hint="commitlog setup")
        raise HistoryLost(
            f"slot {source.slot!r} is gone; the log stands at {state.position}, and what came after is not kept any more",
            hint=ACCEPT_GAP,
        )
    if slot.plugin != "pgoutput":
        raise Refused(f"slot {slot.name!r} uses {slot.plugin}, not pgoutput", hint="choose another [source] slot")
    if slot.wal_status == "lost":
        raise HistoryLost(
            f"slot {slot.name!r} is lost: {lost_because(slot)}",
            hint=ACCEPT_GAP,
        )
    position = parse_lsn(state.position) if state.genesis else slot.confirmed
    if slot.confirmed > position:
        missing = slot.confirmed - position
        raise HistoryLost(
            f"slot {slot.name!r} stands at {format_lsn(slot.confirmed)}, the log at {state.position}: it was re-created or"
            f" advanced, and up to {missing:,} bytes of WAL may be missing",
            hint=ACCEPT_GAP,
        )
    return slot


def check_published(
    catalog: "Catalog", source: SourceConfig, registry: Registry, *, state: LogState, setup: str = "commitlog setup"
) -> None:
    """Is every table that a schema maps, and that exists, in the publication, with all that happens to it?

    Args:
        catalog: The source's catalogs.
        source: Names the publication.
        registry: The app schemas.
        state: The log's state.
        setup: The command that adds a table which is missing.

    Raises:
        HistoryLost: One is not of which the log has records: its changes since are lost.
        Refused: One is not that is new to the log, or there is no publication yet.
    """
    published = catalog.published(source.publication)
    if published is None:
        if state.snapshots:
            raise HistoryLost(f"publication {source.publication!r} is gone", hint=ACCEPT_GAP)
        raise Refused(f"the source has no publication {source.publication!r} yet", hint=setup)
    left_out = catalog.left_out(source.publication)
    if left_out:
        message = f"publication {source.publication!r} leaves out {left_out}"
        way = f"drop the publication, then {setup if not state.snapshots else ACCEPT_GAP}"
        if state.snapshots:
            raise HistoryLost(f"{message}: changes may be missing", hint=way)
        raise Refused(message, hint=way)
    for table in sorted(mapped(registry) - published):
        found = catalog.table(*table)
        if found is None:
            continue
        message = f"table {found.quoted} is mapped by an app schema but is not in publication {source.publication!r}"
        names = {schema.by_table[table].name for schema in registry.schemas if table in schema.by_table}
        if names & state.snapshots.keys():
            raise HistoryLost(f"{message}: changes of it may be missing", hint=ACCEPT_GAP)
        raise Refused(message, hint=setup)


class RepeatCheck:
    """Compares what the server repeats after a reconnect with the end of the log.

    A server restored from a copy has the same identity and may have grown past our position; but then the transaction that ended
    at our last commit's position is another one, or is not there, or others follow it that the log does not have.

    Args:
        state: The log's state at the start of the stream.
        confirmed: Where the slot stands: what ends after it is sent again.
        publishes: Whether a transaction would make a commit.
        position: Reads a position as records have it.
    """

    def __init__(
        self,
        state: LogState,
        confirmed: int,
        publishes: Callable[[Transaction], bool],
        *,
        position: Callable[[str], int] = parse_lsn,
    ) -> None:
        commit = state.commit
        self._at = commit.get("position", "")
        self._end = position(self._at) if commit else 0
        self._xid, self._time = commit.get("xid"), commit.get("time")
        self._missing = self._end > confirmed
        self._publishes = publishes

    def repeated(self, transaction: Transaction) -> None:
        """A transaction at or before our position came again.

        Raises:
            HistoryLost: It ended where our last commit ends, and is another one; or it ended later, and the log lacks it.
        """
        if transaction.end == self._end:
            time = Clock().text(transaction.time_us)
            if (self._xid, self._time) != (transaction.xid, time):
                self._raise()
            self._missing = False
        elif 0 < self._end < transaction.end and self._publishes(transaction):
            self._raise()

    def passed(self) -> None:
        """The server has come to what is after our position.

        Raises:
            HistoryLost: It should have repeated our last commit before, and did not.
        """
        if self._missing:
            self._raise()

    def _raise(self) -> None:
        raise HistoryLost(
            f"the source's history is another one: the log's last commit at {self._at} (transaction {self._xid}) is not"
            " in it, or is not its last; the server was restored from a copy",
            hint=ACCEPT_GAP,
        )
