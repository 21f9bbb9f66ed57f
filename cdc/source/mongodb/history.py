"""Does a replica set still hold what the log needs to go on? Asked before every start of the stream.

Each way of losing history has its own message; none is passed over. A place in an oplog is a time, so the set must be the same, and have an
entry there; that the history is the same, too, the stream tells, which repeats the log's last commit.
"""

from ....schemas.errors import ACCEPT_GAP, HistoryLost, Unreachable
from ....schemas.position import format_oplog, parse_oplog
from ...log.state import LogState
from ...tail.mongodb_catalog import Catalog, Identity

CORRECT = f"correct [source] url, or: {ACCEPT_GAP}"
_KEEP_MORE = "and let the server keep more (replSetResizeOplog, its size or minRetentionHours)"


def check_identity(identity: Identity, state: LogState) -> None:
    """Is this the replica set and the database that the log was made from?

    Raises:
        HistoryLost: It is not.
    """
    genesis = state.genesis
    if not genesis:
        return
    if "replica_set" not in genesis:
        raise HistoryLost(
            "the source is a MongoDB, and the log was made from another kind of database",
            hint=CORRECT,
        )
    if (identity.replica_set, identity.database) != (genesis["replica_set"], genesis["database"]):
        raise HistoryLost(
            f"the source is another one: replica set {identity.replica_set} database {identity.database!r}, the log was made from"
            f" {genesis['replica_set']} {genesis['database']!r}",
            hint=CORRECT,
        )


def check_log(catalog: Catalog, state: LogState) -> None:
    """Does the oplog still have the log's position, and everything after it?

    Raises:
        HistoryLost: It does not; the message says in which of the ways.
        Unreachable: The member that answers has not come so far yet.
    """
    if not state.genesis:
        return
    position, bounds = parse_oplog(state.position), catalog.oplog_bounds()
    if position < bounds.first:
        raise HistoryLost(
            f"the source's oplog begins at {format_oplog(bounds.first)}, after the log's position {state.position}: it has rolled over, and"
            " what came between is not kept any more",
            hint=f"{ACCEPT_GAP}; {_KEEP_MORE}",
        )
    if position > bounds.last:
        # A member that a moment ago became primary, or that lags. One that was restored from a copy soon writes past the position.
        raise Unreachable(
            f"the source's oplog ends at {format_oplog(bounds.last)}, before the log's position {state.position}: this member lags behind,"
            " or was restored from a copy",
            hint="it is tried again; check that all members are in step",
        )
    if not catalog.has_entry(position):
        raise HistoryLost(
            f"the source's history is another one: its oplog has no entry at the log's position {state.position}; it was restored from a"
            " copy, or its members lost what a majority had",
            hint=ACCEPT_GAP,
        )


def beginning(catalog: Catalog, state: LogState) -> str:
    """Where to begin to read for a log that is there: so that its last commit comes again, if the oplog still has that."""
    after = state.commit.get("after", "")
    if after and catalog.oplog_bounds().first <= parse_oplog(after) and catalog.has_entry(parse_oplog(after)):
        return str(after)
    return state.position
