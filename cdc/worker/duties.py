"""What a worker does beside the stream: commands, late session records, new app schemas, snapshots, a look at the publication.

Everything here appends to the same chain as the stream, between two transactions and never inside one.
"""

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import orjson

from ...schemas.errors import CommitLogError, UsageError
from ...schemas.record import Head
from ...transforms.registry import Registry
from ..app_schemas import store as schema_store
from ..app_schemas.files import load_registry
from ..config import Config
from ..failpoint import failpoint
from ..log.chain import ChainWriter, Extras
from ..log.home import LogRequest, open_inbox
from ..log.state import LogState, Progress
from ..sessions.late import LateSessions
from ..source import ddl_notices
from ..source.check import check_published
from ..source.ddl_notices import Altered, Published
from ..source.table_watch import TableWatch
from ..tail.catalog import Catalog
from ..tail.enums import UnknownLabel
from ..tail.postgres import Stream
from ..tail.transaction import Notice, Relation, Transaction
from ..telemetry.vitals import Vitals
from .commits import Committer
from .snapshot import RECENT_TRANSACTIONS, Chunk, Snapshotter, Visibility

log = logging.getLogger("commitlog")

INTERVAL_S = 0.2
CHECK_S = 5.0
CHECK_SHARE = 50
"""How often the source's tables are looked at, and that with thousands of them it takes no more than a fiftieth of the time."""

VISIBLE_S = 1.0
VISIBLE_POLL_S = 0.002
"""How long to wait until a transaction that the stream has told of can be seen, and how often to ask."""


@dataclass(slots=True)
class Parts:
    """What duties work with: those of one session of the worker. `flush` returns when everything appended is durable."""

    config: Config
    append: Callable[[bytes, Head], None]
    flush: Callable[[], None]
    chain: ChainWriter
    state: LogState
    committer: Committer
    catalog: Catalog
    stream: Stream
    vitals: Vitals


class Duties:
    """The duties of one session.

    Args:
        parts: What they work with.
        registry: The app schemas in force at the start; `registry` is always those in force now.
    """

    def __init__(self, parts: Parts, registry: Registry) -> None:
        self._p = parts
        self._inbox = open_inbox(parts.config.log.location)
        self._sessions = LateSessions(
            parts.config.log.location, alive=self._alive, pseudonyms=parts.committer.pseudonyms
        )
        self._snapshots: Snapshotter | None = None
        self._at = self._checked_at = time.monotonic()
        self._take_at = 0.0
        self._check_s = CHECK_S
        self._unseen: int | None = None
        """A transaction that changed tables, and that could not be seen yet when they were looked at."""
        self._recent: deque[int] = deque(maxlen=RECENT_TRANSACTIONS)
        self._watch = TableWatch(
            parts.config.tables_path,
            epoch=parts.state.epoch,
            catalog=parts.catalog,
            publication=parts.config.source.publication,
            visibility=parts.config.log.visibility,
        )
        committer = parts.committer
        committer.lookup, committer.plans.met, committer.noticed = self._sessions.lookup, self._meet, self._notice
        self.use(registry)
        self._look()

    def close(self) -> None:
        """Close files and connections."""
        self._inbox.close()
        self._sessions.close()
        if self._snapshots is not None:
            self._snapshots.close()

    def use(self, registry: Registry) -> None:
        """Let app schemas hold from the next transaction on."""
        self.registry = self._p.committer.plans.registry = registry
        if self._snapshots is not None:
            self._snapshots.close()
        self._snapshots = self._snapshotter()
        self._checked_at = -self._check_s

    def reload(self, registry: Registry) -> None:
        """As `use`, for schemas that nobody has looked at yet.

        Raises:
            CommitLogError: They map a table that is not published; nothing has changed.
        """
        check_published(self._p.catalog, self._p.config.source, registry, state=self._p.state)
        self.use(registry)

    def observe(self, transaction: Transaction) -> None:
        """Tell a snapshot in hand of a transaction that was just committed to the log."""
        self._recent.append(transaction.xid)
        if self._snapshots is not None:
            self._snapshots.observe(transaction)

    def perform(self, readable_end: int) -> None:
        """Do what is due.

        Args:
            readable_end: Up to where everything was read from the source.

        Raises:
            CommitLogError: The source or the log does not allow going on.
        """
        self._snapshot(readable_end)
        now = time.monotonic()
        if now - self._at < INTERVAL_S:
            return
        self._at = now
        self._p.committer.refresh()
        last = self._p.committer.last or self._p.state.commit
        self._p.vitals.observe(readable_end, told=self._p.stream.server_end, commit=last.get("time"))
        for request in self._inbox.pending():
            self._answer(request)
        self._amend()
        if self._unseen is not None and self._sees_all():
            self._look()
        if now - self._checked_at >= self._check_s:
            self._checked_at = now
            check_published(self._p.catalog, self._p.config.source, self.registry, state=self._p.state)
            self._look()
            self._p.vitals.looked(self._p.catalog.slot(self._p.config.source.slot))
            self._check_s = max(CHECK_S, CHECK_SHARE * (time.monotonic() - now))

    def _look(self) -> None:
        """See whether tables changed in a way the stream does not tell of.

        Raises:
            HistoryLost: One was taken out of the publication and put back.
        """
        default = self.registry.default
        if default is not None:
            unread = default.entities.keys() - self._p.state.snapshots.keys()
            for entity, why in self._watch.look(default, self._told(), unread=unread).items():
                self._renew(entity, why)
            if self._watch.changed:
                self._doubt_chunk()
                self._p.flush()
                self._watch.save()

    def _doubt_chunk(self) -> None:
        """Have the chunk in hand read again: it may be of what was in the place of a table before."""
        if self._snapshots is not None and self._snapshots.chunk is not None:
            self._snapshots.chunk.spoiled = True

    def _told(self) -> set[str]:
        """The entities of which the log holds rows that a snapshot brought."""
        return {name for name, progress in self._p.state.snapshots.items() if progress.told}

    def _renew(self, entity: str, why: str) -> None:
        """Begin the snapshot of an entity anew: by a record, for what was told of its rows may not hold from here on."""
        p, default = self._p, self.registry.default
        assert default is not None
        schema = p.committer.plans.recorded(default)
        p.committer.plans.announce_schema(schema)
        progress = p.state.snapshots[entity] = Progress(f"renewed {p.chain.head.seq + 1}", None, last=False)
        meta = {"snapshot": progress.snapshot, "entity": entity, "from": None, "to": None, "last": False}
        self._append(p.chain.record("snapshot", meta=meta, extras=Extras(schema=schema.id)))
        p.committer.plans.renew(entity)
        log.warning("%s: %s; its rows are read again", entity, why)
        if self._snapshots is None:
            self._snapshots = self._snapshotter()
        elif self._snapshots.chunk is not None and self._snapshots.chunk.entity.name == entity:
            self._snapshots.chunk.spoiled = True

    def _look_after(self, xid: int) -> None:
        """Look at the tables as a transaction left them."""
        self._await(xid)
        self._look()

    def _await(self, xid: int) -> None:
        """Wait until others can see a transaction. It may come in the stream before: a moment, or while it waits for a standby."""
        deadline = time.monotonic() + VISIBLE_S
        self._unseen = xid
        self._doubt_chunk()
        while not self._sees_all() and time.monotonic() < deadline:
            time.sleep(VISIBLE_POLL_S)

    def _sees_all(self) -> bool:
        """Whether what the last look was after can be seen."""
        if self._unseen is not None:
            snapshot = self._p.catalog.rows("SELECT pg_current_snapshot()::text")[0][0]
            if Visibility.parse(snapshot).sees(self._unseen):
                self._unseen = None
        return self._unseen is None

    def _meet(self, relation: Relation, xid: int) -> None:
        """The stream describes a table: look, if it is in a form that is not known."""
        default = self.registry.default
        if default is not None and not self._watch.knows(relation, default):
            self._look_after(xid)

    def _notice(self, notices: list[Notice], xid: int) -> None:
        """Take note of what event triggers say of a transaction that comes next.

        Raises:
            HistoryLost: It took a table out of the publication, or stopped logging it.
        """
        concerning = [notice for notice in map(ddl_notices.read, notices) if self._watch.concerns(notice)]
        if not concerning:
            return
        self._await(xid)
        for hearsay in concerning:
            notice = self._watch.borne_out(hearsay, xid) if self._unseen is None else hearsay
            told = self._told()
            if isinstance(notice, Published):
                self._watch.published(notice, told)
            elif notice is not None:
                why = "its table was dropped" if isinstance(notice, Altered) else "its table was rewritten"
                for entity in self._watch.changed_by(notice, told):
                    self._renew(entity, why)
        self._look()

    def _alive(self) -> None:
        """Something beside the stream takes long, and goes on."""
        self._p.vitals.beat()
        self._p.stream.keep_alive()

    def _append(self, line: bytes) -> Head:
        head = self._p.chain.head
        self._p.append(line, head)
        return head

    def _answer(self, request: LogRequest) -> None:
        """Do what a command asks, durably, before it is told so."""
        p = self._p
        try:
            if request.kind != schema_store.REQUEST:
                raise UsageError(f"the worker knows no request {request.kind!r}", hint="use one version of commitlog")
            schema = schema_store.parse_request(request.payload)
            registry = Registry([*load_registry(p.config.schemas.path).schemas, schema])
            schema.check(p.config.log.visibility)
            check_published(p.catalog, p.config.source, registry, state=p.state, setup=schema_store.SETUP)
            schema_store.keep(schema, p.config)
        except CommitLogError as exc:
            log.warning("request refused: %s", exc)
            request.refuse(exc)
            return
        seq = schema_store.add(schema, p.config, state=p.state, chain=p.chain, append=p.append)
        p.flush()
        self.use(registry)
        log.info("app schema %s taken in, record %d", schema.id[:12], seq)
        request.answer({"seq": seq, "schema": schema.id})

    def _amend(self) -> None:
        """Append what session records that came late say of commits already in the log."""
        p, sessions = self._p, self._sessions
        p.vitals.sessions_malformed += sessions.malformed()
        if not sessions.waiting():
            return
        p.flush()  # the index sees durable records only
        count = 0
        for ref, by in sessions.amends():
            self._append(p.chain.raw("amend", [orjson.dumps(by), b"{}"], extras=Extras(ref=ref)))
            count += 1
        p.flush()
        sessions.done()
        if count:
            log.info("%d commits amended by session records", count)

    def _snapshotter(self) -> Snapshotter | None:
        """What takes the snapshots that the log still lacks; None when it lacks none, or no schema is the default."""
        default, config = self.registry.default, self._p.config
        if default is None:
            return None
        snapshots = Snapshotter(
            config.source,
            schema=default,
            visibility=config.log.visibility,
            progress=self._p.state.snapshots,
            recent=self._recent,
            limits=config.limits,
        )
        self._p.vitals.snapshots_left = len(snapshots.missing)
        if not snapshots.done:
            return snapshots
        snapshots.close()
        return None

    def _snapshot(self, readable_end: int) -> None:
        """Go one step on with the snapshots: read a chunk, or append the one in hand when the stream has come so far."""
        snapshots = self._snapshots
        if snapshots is None:
            return
        if snapshots.chunk is None:
            self._take_chunk(snapshots)
        elif snapshots.chunk.spoiled:
            snapshots.chunk = None
        elif readable_end < snapshots.chunk.due:
            self._p.stream.ask()
            snapshots.hurry()
        else:
            self._record_chunk(snapshots, snapshots.chunk)

    def _take_chunk(self, snapshots: Snapshotter) -> None:
        """Read a chunk; where none can be read now, do not ask again at once."""
        if time.monotonic() < self._take_at or snapshots.take():
            return
        self._take_at = time.monotonic() + INTERVAL_S
        if snapshots.done:
            log.info("snapshots complete")
            snapshots.close()
            self._snapshots = None

    def _record_chunk(self, snapshots: Snapshotter, chunk: Chunk) -> None:
        p = self._p
        schema = p.committer.plans.recorded(snapshots.schema)
        p.committer.plans.announce(chunk.projection, schema)
        failpoint("in_snapshot_chunk")
        try:
            meta, items = snapshots.finish()
        except UnknownLabel:
            return  # An enum was altered since the chunk was read: it is read again.
        p.vitals.snapshot_rows += len(items)
        p.vitals.snapshots_left = len(snapshots.missing)
        p.vitals.snapshot = p.vitals.snapshot.grown(chunk.entity.name, len(items), chunk.expected)
        extras = Extras(schema=schema.id, shapes=(chunk.projection.shape_id,))
        self._append(p.chain.record("snapshot", items, meta=meta, extras=extras))
        log.info("snapshot of %s: %d rows, %s", meta["entity"], len(items), "complete" if meta["last"] else "goes on")
