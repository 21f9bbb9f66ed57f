"""Whole transactions in, the lines of their commits out: the stream processor as the worker runs it.

Every line is handed on in order; nothing here is durable yet. A transaction of which no app schema publishes anything makes no
record: coverage says later that it was read.
"""

from collections.abc import Callable
from typing import Any, Final

from ..schemas.errors import CommitLogError, DecodeError
from ..schemas.position import PG_EPOCH_OFFSET_US, format_lsn
from ..schemas.record import Head
from ..transforms.app_schema import AppSchema
from ..transforms.join import UNTAGGED, Lookup, Provenance, join
from ..transforms.project import Projection, truncate_item
from ..transforms.registry import Registry
from .config import Config
from .failpoint import failpoint
from .log.chain import ChainWriter, Extras
from .log.state import LogState
from .tail.catalog import Catalog
from .tail.pgoutput import Relation, Transaction, parse_change, parse_truncate
from .tail.shapes import project

Append = Callable[[bytes, Head], None]

TAG_SLACK: Final = 4
"""A tag may be this many times the limit that drivers keep to, before it is not read at all."""


class UnknownBuild(CommitLogError):
    """No app schema is for this build, and the app's schemas say to wait for one."""

    def __init__(self, build: str, version: str) -> None:
        named = build or version
        super().__init__(
            f"no app schema is for build {named!r}" if named else "no app schema is the default, for untagged writes",
            hint="commitlog schema add FILE",
        )


class Committer:
    """Makes commits of transactions.

    Args:
        chain: The writer's end of the chain.
        append: Takes each line with the head after it.
        config: The worker's configuration.
        catalog: The source's catalogs.
        state: The log's state: which schemas and shapes it holds already.
    """

    def __init__(
        self, chain: ChainWriter, append: Append, *, config: Config, catalog: Catalog, state: LogState
    ) -> None:
        self.registry = Registry()
        self.lookup: Lookup = lambda request: None
        self.commits = self.rows = self.untagged = self.dropped = 0
        self.last: dict[str, Any] = {}
        """The last whole commit's position and xid, as LogState keeps them."""
        self._chain, self._append, self._catalog, self._state = chain, append, catalog, state
        self._visibility = config.log.visibility
        self._part_bytes = config.limits.part_bytes
        self._tag_bytes_max = config.limits.tag_bytes * TAG_SLACK
        self._id_prefix = f"pg:{state.genesis['system']}:{state.genesis['timeline']}:"
        self._projected: dict[str, AppSchema] = {}
        self._plans: dict[str, dict[Relation, Projection | None]] = {}

    def commit(self, transaction: Transaction) -> None:
        """Append the commit of one transaction, if it has anything to publish.

        Raises:
            UnknownBuild: Its build has no schema yet; nothing was appended.
            DecodeError: A change cannot be read.
        """
        provenance = self._provenance(transaction)
        resolved = self.registry.resolve(provenance.build, provenance.version, provenance.app)
        if resolved is None:
            raise UnknownBuild(provenance.build, provenance.version)
        schema, schema_by = self._recorded(resolved[0]), resolved[1]
        plans = self._resolve(transaction, schema)
        if plans is None:
            self.dropped += 1
            return
        record = _Parts(self, transaction, provenance, schema.id, schema_by)
        changes = transaction.changes
        try:
            for relation, data in changes:
                if isinstance(relation, tuple):
                    record.add(_truncate(data, [plans[r] for r in relation]), None)
                    continue
                plan = plans[relation]
                record.add(None if plan is None else plan.item(parse_change(data), record.shape(plan)), plan)
        except ValueError as exc:
            raise DecodeError(
                f"a value of transaction {transaction.xid} at {format_lsn(transaction.end)} is not the text of its type: {exc}"
            ) from exc
        record.finish()

    def _provenance(self, transaction: Transaction) -> Provenance:
        tags = transaction.tags
        if not tags:
            self.untagged += 1
            return UNTAGGED
        time_us = transaction.time_us + PG_EPOCH_OFFSET_US
        return join(tags[-1], tag_bytes_max=self._tag_bytes_max, time_us=time_us, lookup=self.lookup)

    def _resolve(self, transaction: Transaction, schema: AppSchema) -> dict[Relation, Projection | None] | None:
        """The projections of all relations of a transaction, or None where it touches no published table.

        Schemas and shapes the log does not hold yet are appended here, before the first part of the commit.
        """
        plans = self._plans.get(schema.id)
        if plans is None:
            plans = self._plans[schema.id] = {}
        found = False
        for relation in transaction.relations():
            if relation not in plans:
                plans[relation] = self._plan(relation, schema)
            plan = plans[relation]
            if plan is not None:
                found = True
                self.announce(plan, schema)
        return plans if found else None

    def _recorded(self, schema: AppSchema) -> AppSchema:
        """The part of a schema that a log of this visibility may hold."""
        recorded = self._projected.get(schema.id)
        if recorded is None:
            recorded = self._projected[schema.id] = schema.projected(self._visibility)
        return recorded

    def _plan(self, relation: Relation, schema: AppSchema) -> Projection | None:
        entity = schema.by_table.get(relation.table)
        fields = entity.published(self._visibility) if entity else {}
        if entity is None or not fields:
            return None
        return project(relation, entity, published=fields, catalog=self._catalog)

    def announce(self, plan: Projection, schema: AppSchema) -> None:
        """Append the schema and shape records that a record with this projection needs, unless the log has them."""
        state, chain = self._state, self._chain
        if schema.id not in state.schemas:
            self._append(chain.record("schema", [schema.data], extras=Extras(schema=schema.id)), chain.head)
            state.schemas.append(schema.id)
        if plan.shape_id not in state.shapes:
            self._append(chain.record("shape", [plan.shape.data], extras=Extras(shapes=(plan.shape_id,))), chain.head)
            state.shapes.add(plan.shape_id)

    def append_commit(self, transaction: Transaction, items: list[bytes], extras: Extras, *, whole: bool) -> None:
        """Append one record of a commit; only a `whole` one, or the last part, moves the position."""
        chain, end = self._chain, transaction.end
        line = chain.commit(
            f"{self._id_prefix}{end:016X}",
            transaction.time_us + PG_EPOCH_OFFSET_US,
            position=format_lsn(end) if whole else chain.position,
            items=items,
            extras=extras,
        )
        self._append(line, chain.head)
        self.rows += len(items) - 2
        if whole:
            self.commits += 1
            self.last = {"position": chain.position, "xid": transaction.xid}
        else:
            failpoint("between_parts")

    @property
    def part_bytes(self) -> int:
        """Above this, a commit goes in parts."""
        return self._part_bytes


class _Parts:
    """The items of one commit, cut into records where they are too large for one."""

    def __init__(
        self, committer: Committer, transaction: Transaction, provenance: Provenance, schema: str, schema_by: str
    ) -> None:
        self._committer, self._transaction, self._provenance = committer, transaction, provenance
        self._schema, self._schema_by = schema, schema_by
        self._room = committer.part_bytes
        self._part = 0
        self._reset()

    def _reset(self) -> None:
        self._items: list[bytes] = [b"", b""]
        self._bytes = self._skipped = 0
        self._shapes: dict[str, int] = {}

    def shape(self, plan: Projection) -> int:
        """The index of a projection's shape in the record in hand."""
        return self._shapes.setdefault(plan.shape_id, len(self._shapes))

    def add(self, item: bytes | None, plan: Projection | None) -> None:
        """Add a change, or count one that publishes nothing."""
        if item is None:
            self._skipped += 1
            return
        self._items.append(item)
        self._bytes += len(item)
        if self._bytes > self._room:
            self._emit(last=False)

    def finish(self) -> None:
        """Append what is in hand as the last record, unless the transaction published nothing at all."""
        if self._part or len(self._items) > 2:
            self._emit(last=True)
        else:
            self._committer.dropped += 1

    def _emit(self, *, last: bool) -> None:
        provenance, tags = self._provenance, len(self._transaction.tags)
        meta = f'{{"xid":{self._transaction.xid}'
        if self._skipped:
            meta += f',"skipped":{self._skipped}'
        if self._part == 0:
            meta += f',"schema_by":"{self._schema_by}"'
            if provenance.trouble:
                meta += f',"tag":"{provenance.trouble}"'
            if tags > 1:
                meta += f',"tags":{tags}'
        self._items[0] = b"null" if self._part else provenance.by
        self._items[1] = (meta + "}").encode()
        part = None if last and self._part == 0 else (self._part, last)
        extras = Extras(schema=self._schema, shapes=tuple(self._shapes), part=part)
        self._committer.append_commit(self._transaction, self._items, extras, whole=last)
        self._part += 1
        self._reset()


def _truncate(data: bytes, plans: list[Projection | None]) -> bytes | None:
    entities = [plan.entity for plan in plans if plan is not None]
    if not entities:
        return None
    statement = parse_truncate(data)
    return truncate_item(entities, cascade=statement.cascade, restart_identity=statement.restart_identity)
