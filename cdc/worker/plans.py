"""What becomes of the rows of each table under each app schema: thought out when a table is met, and told the log before it is used."""

import logging
from collections.abc import Callable, Collection, Mapping, Set
from typing import NamedTuple

import orjson

from ...schemas.errors import SchemaError
from ...schemas.record import Head
from ...transforms.app_schema import AppSchema
from ...transforms.project import Projection
from ...transforms.registry import Registry
from ...transforms.table_name import TableName
from ..log.chain import ChainWriter, Extras
from ..log.state import LogState
from ..tail.enums import Enums, UnknownLabel, enum_labels
from ..tail.items import ShapeItem
from ..tail.late_keys import LateKey, settled
from ..tail.transaction import Relation, Transaction
from .source import Source

log = logging.getLogger("commitlog")

Append = Callable[[bytes, Head], None]


class Plan(NamedTuple):
    """What becomes of the rows of one relation under one app schema. `late`: the key that its rows may share within a transaction, if any."""

    projection: Projection
    shape_id: str
    shape_item: ShapeItem
    late: LateKey | None


class Plans:
    """The plans of one session of a worker.

    Args:
        chain: The writer's end of the chain.
        append: Takes each line with the head after it.
        source: What it is of.
        state: The log's state: which schemas and shapes it holds already.
        visibility: Of the log: `own` or `shared`.
    """

    def __init__(self, chain: ChainWriter, append: Append, *, source: Source, state: LogState, visibility: str) -> None:
        self.registry = Registry()
        self.met: Callable[[Relation, int], None] = lambda relation, xid: None
        """Told of each table that the stream describes, and by which transaction, before the first commit with it."""
        self.alive: Callable[[], None] = lambda: None
        """Told that something takes long, and goes on."""
        self._chain, self._append, self._source, self._state = chain, append, source, state
        self._visibility = visibility
        self._enums = Enums(state.labels)
        self._told = {enum: tuple(labels) for enum, labels in state.labels.items()}
        """The labels of each enum in the last shape of the log that has it."""
        self._recorded: dict[str, AppSchema] = {}
        self._plans: dict[str, dict[Relation, Plan | None]] = {}
        self._late = False
        """Whether any table has had a plan with a late key."""

    def of(self, schema: AppSchema) -> dict[Relation, Plan | None]:
        """The plans under an app schema so far; None for a table that it does not publish."""
        plans = self._plans.get(schema.id)
        if plans is None:
            plans = self._plans[schema.id] = {}
        return plans

    def resolve(self, transaction: Transaction, schema: AppSchema) -> bool:
        """Have plans of all relations of a transaction; whether it touches a published table.

        Schemas and shapes the log does not hold yet are appended here, before the first part of the commit.
        """
        plans = self.of(schema)
        relations = transaction.relations()
        new = [relation for relation in relations if relation not in plans]
        for relation in new:
            self.met(relation, transaction.xid)
            plan = plans[relation] = self.plan(relation, schema, transaction.xid)
            if plan is not None:
                self.announce(plan.projection, schema)
        if new:
            self._forget({relation.table for relation in new}, but=relations)
        return any(plans[relation] is not None for relation in relations)

    def settle(self, transaction: Transaction, plans: Mapping[Relation, Plan | None]) -> None:
        """Have one change of each row that met another one at its key within a transaction."""
        relations = transaction.relations() if self._late else ()
        late = {r: plan.late for r in relations if (plan := plans[r]) is not None and plan.late is not None}
        if late:
            transaction.changes = settled(transaction.changes, late, self.alive)

    def _forget(self, tables: Set[TableName], but: Collection[Relation]) -> None:
        """Tables that the stream has described anew do not come as they were any more. It does so whenever a table is analysed."""
        for plans in self._plans.values():
            for relation in [known for known in plans if known.table in tables and known not in but]:
                del plans[relation]

    def missed(self, unknown: UnknownLabel) -> None:
        """A value has a label that no shape knows: shapes are made anew."""
        self._enums.miss(unknown)
        for plans in self._plans.values():
            plans.clear()

    def renew(self, entity: str) -> None:
        """The rows of an entity are going to be told anew: until then whole rows are recorded where a key changes."""
        for plans in self._plans.values():
            for plan in plans.values():
                if plan is not None and plan.projection.entity == entity:
                    plan.projection.whole_rekeys = True

    def schema_of(self, build: str, version: str, app: str) -> tuple[AppSchema, str] | None:
        """The app schema of what a tag names, as `recorded`, and what it was found by; None where there is none."""
        resolved = self.registry.resolve(build, version, app)
        return None if resolved is None else (self.recorded(resolved[0]), resolved[1])

    def recorded(self, schema: AppSchema) -> AppSchema:
        """The part of a schema that a log of this visibility may hold."""
        recorded = self._recorded.get(schema.id)
        if recorded is None:
            recorded = self._recorded[schema.id] = schema.projected(self._visibility)
        return recorded

    def plan(self, relation: Relation, schema: AppSchema, xid: int) -> Plan | None:
        """What becomes of a table's rows, thought out anew for a transaction; None where the schema publishes nothing of them.

        Raises:
            SchemaError: The schema does not fit the table.
        """
        entity = schema.by_table.get(relation.table)
        fields = entity.published(self._visibility) if entity else {}
        if entity is None or not fields:
            return None
        try:
            projection = self._source.project(relation, entity, published=fields, enums=self._enums, xid=xid)
            self._enums.record(projection.shape)
        except SchemaError as exc:
            if not self._awaits(entity.name):
                raise
            log.warning("%s; passed over, for a snapshot will tell its rows", exc)
            return None
        progress = self._state.snapshots.get(entity.name)
        projection.whole_rekeys = progress is None or not progress.last
        item = self._source.item(projection, relation, entity.key, lambda: self._awaits(entity.name))
        late = self._source.late_key(relation, entity.key, xid)
        self._late = self._late or late is not None
        return Plan(projection, projection.shape_id, item, late)

    def _awaits(self, entity: str) -> bool:
        """Whether a snapshot will tell the rows of an entity, and none has yet."""
        default, progress = self.registry.default, self._state.snapshots.get(entity)
        return default is not None and entity in default.entities and not (progress and progress.told)

    def announce(self, plan: Projection, schema: AppSchema) -> None:
        """Append the schema and shape records that a record with this projection needs, unless the log has them.

        A shape that it has is said again where the table is again as it was before another one, or where an enum's labels are, of any table.
        """
        state, chain = self._state, self._chain
        self.announce_schema(schema)
        labels, described = enum_labels(plan.shape), orjson.loads(plan.shape.data)
        if (
            plan.shape_id not in state.shapes
            or not state.describes(described)
            or any(self._told.get(enum, now) != now for enum, now in labels.items())
        ):
            self._append(chain.record("shape", [plan.shape.data], extras=Extras(shapes=(plan.shape_id,))), chain.head)
            state.shapes.add(plan.shape_id)
            state.describe(described)
            self._enums.record(plan.shape)
            self._told.update(labels)

    def announce_schema(self, schema: AppSchema) -> None:
        """Append the schema record that a record under this schema needs, unless the log has it."""
        state, chain = self._state, self._chain
        if schema.id not in state.schemas:
            self._append(chain.record("schema", [schema.data], extras=Extras(schema=schema.id)), chain.head)
            state.schemas[schema.id] = chain.head.seq
