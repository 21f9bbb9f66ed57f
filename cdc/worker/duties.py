"""What a worker does beside the stream: commands, late session records, new app schemas, snapshots, a look at the publication.

Everything here appends to the same chain as the stream, between two transactions and never inside one.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import orjson

from ...schemas.errors import CommitLogError, UsageError
from ...schemas.record import Head
from ...transforms.app_schema import AppSchema
from ...transforms.registry import Registry
from ..app_schemas import store as schema_store
from ..app_schemas.files import load_registry
from ..config import Config
from ..failpoint import failpoint
from ..log.chain import ChainWriter, Extras
from ..log.home import LogRequest, open_inbox
from ..log.pieces import in_parts
from ..log.state import LogState, Progress
from ..sessions.late import LateSessions
from ..tail.enums import UnknownLabel
from ..tail.transaction import Mark, Transaction
from ..telemetry.vitals import Vitals
from .commits import Committer
from .snapshot import RECENT_TRANSACTIONS, Chunk, Snapshotter
from .source import Source, Stream

log = logging.getLogger("commitlog")

INTERVAL_S = 0.2
CHECK_S = 5.0
CHECK_SHARE = 50
"""How often the source's tables are looked at, and that with thousands of them it takes no more than a fiftieth of the time."""


@dataclass(slots=True)
class Parts:
    """What duties work with: those of one session of the worker. `flush` returns when everything appended is durable."""

    config: Config
    append: Callable[[bytes, Head], None]
    flush: Callable[[], None]
    chain: ChainWriter
    state: LogState
    committer: Committer
    source: Source
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
        self._recent: deque[Mark] = deque(maxlen=RECENT_TRANSACTIONS)
        self._tables = parts.source.watch(self, epoch=parts.state.epoch)
        committer, tables = parts.committer, self._tables
        committer.lookup, committer.plans.met, committer.noticed = self._sessions.lookup, tables.met, tables.noticed
        committer.plans.alive = self._alive
        self.use(registry)
        tables.look()

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
        # Looked at before anything else is committed: what changes twice in a moment must be seen twice.
        self._at, self._checked_at = -INTERVAL_S, -self._check_s

    def reload(self, registry: Registry) -> None:
        """As `use`, for schemas that nobody has looked at yet.

        Raises:
            CommitLogError: They map a table that is not published; nothing has changed.
        """
        self._p.source.check_published(registry, self._p.state)
        self.use(registry)

    def observe(self, transaction: Transaction) -> None:
        """Tell a snapshot in hand of a transaction that was just committed to the log."""
        self._recent.append(transaction.mark)
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
        self._tables.look_again()
        if now - self._checked_at >= self._check_s:
            self._checked_at = now
            self._p.source.check_published(self.registry, self._p.state)
            self._tables.look()
            self._p.source.look(self._p.vitals)
            self._check_s = max(CHECK_S, CHECK_SHARE * (time.monotonic() - now))

    def doubt_chunk(self) -> None:
        """Have the chunk in hand read again: it may be of what was in the place of a table before."""
        if self._snapshots is not None and self._snapshots.chunk is not None:
            self._snapshots.chunk.spoiled = True

    @property
    def default(self) -> AppSchema | None:
        """The app schema for what nobody names."""
        return self.registry.default

    def unread(self) -> set[str]:
        """The entities whose snapshot has not begun."""
        default = self.registry.default
        return set[str]() if default is None else default.entities.keys() - self._p.state.snapshots.keys()

    def flush(self) -> None:
        """Make durable what was appended."""
        self._p.flush()

    def told(self) -> set[str]:
        """The entities of which the log holds rows that a snapshot brought."""
        return {name for name, progress in self._p.state.snapshots.items() if progress.told}

    def renew(self, entity: str, why: str) -> None:
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
            schema.check(p.config.log.visibility, engine=p.config.source.engine)
            p.source.check_published(registry, p.state, setup=schema_store.SETUP)
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
        default = self.registry.default
        if default is None:
            return None
        snapshots = self._p.source.snapshotter(default, progress=self._p.state.snapshots, recent=self._recent)
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
        parts = in_parts([b"", b"", *items], sum(map(len, items)), p.config.limits.change_bytes)
        self._append_chunk(parts, meta, extras)
        log.info("snapshot of %s: %d rows, %s", meta["entity"], len(items), "complete" if meta["last"] else "goes on")

    def _append_chunk(self, parts: Iterator[list[bytes]], meta: dict[str, object], extras: Extras) -> None:
        """Append a chunk, in parts where rows of it are that large. What it is of stands in the last."""
        p, number = self._p, 0
        items = next(parts)
        for following in parts:
            items[:2] = b"null", orjson.dumps({name: meta[name] for name in ("snapshot", "entity")})
            self._append(p.chain.raw("snapshot", items, extras=extras._replace(part=(number, False))))
            failpoint("between_parts")
            items, number = following, number + 1
        items[:2] = b"null", orjson.dumps(meta)
        last = (number, True) if number else None
        self._append(p.chain.raw("snapshot", items, extras=extras._replace(part=last)))
