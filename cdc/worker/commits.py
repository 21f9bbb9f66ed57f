"""Whole transactions in, the lines of their commits out: the stream processor as the worker runs it.

Every line is handed on in order; nothing here is durable yet. A transaction of which no app schema publishes anything makes no
record: coverage says later that it was read.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from ...schemas.errors import CommitLogError, DecodeError
from ...transforms.join import UNTAGGED, Lookup, Provenance, join
from ...transforms.project import truncate_item
from .. import native
from ..config import Config
from ..failpoint import failpoint
from ..keys import pseudonyms_of
from ..log.chain import ChainWriter, Clock, Extras, Rule
from ..log.pieces import in_parts
from ..log.state import LogState
from ..tail.enums import UnknownLabel
from ..tail.row_change import parse_truncate
from ..tail.transaction import Notice, Relation, Transaction
from ..telemetry.vitals import Counts
from .plans import Append, Plan, Plans
from .source import Source

TAG_SLACK: Final = 4
"""A tag may be this many times the limit that drivers keep to, before it is not read at all."""

JOINED_MAX: Final = 1024
"""Tags remembered at most; one is small, and they are forgotten a few times a second."""


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
        source: What it is of.
        state: The log's state: which schemas and shapes it holds already.
        counts: Counted on.
    """

    def __init__(
        self, chain: ChainWriter, append: Append, *, config: Config, source: Source, state: LogState, counts: Counts
    ) -> None:
        self.plans = Plans(chain, append, source=source, state=state, visibility=config.log.visibility)
        self.lookup: Lookup = lambda request, time_us: None
        self.noticed: Callable[[list[Notice], int], None] = lambda notices, xid: None
        """Told what event triggers say of a transaction, before its commit."""
        self.pseudonyms = pseudonyms_of(config)
        self.counts = counts
        self._last: Transaction | None = None
        self._after = ""
        """The position that the last commit came after."""
        self._chain, self._append, self._source = chain, append, source
        self._first_part: int | None = None
        self._change_bytes = config.limits.change_bytes
        self._part_bytes = min(config.limits.part_bytes, self._change_bytes)
        self._tag_bytes_max = config.limits.tag_bytes * TAG_SLACK
        self._joined: dict[tuple[bytes, int], Provenance] = {}

    def commit(self, transaction: Transaction) -> None:
        """Append the commit of one transaction, if it has anything to publish.

        Raises:
            UnknownBuild: Its build has no schema yet; nothing was appended.
            DecodeError: A change cannot be read.
        """
        tags = transaction.tags
        if tags and (len(tags) > 1 or type(tags[0]) is Notice):
            self._take_notices(tags, transaction.xid)
        provenance = self._provenance(transaction)
        found = self.plans.schema_of(provenance.build, provenance.version, provenance.app)
        if found is None:
            raise UnknownBuild(provenance.build, provenance.version)
        schema, schema_by = found
        commit = _Commit(transaction, provenance, schema.id, schema_by)
        plans = self.plans.of(schema)
        while self.plans.resolve(transaction, schema):
            self.plans.settle(transaction, plans)
            try:
                self._project(commit, plans)
                return
            except UnknownLabel as exc:
                self._take_label(exc)
            except ValueError as exc:
                # Not what the error says: that names the value.
                raise DecodeError(
                    f"a value of transaction {transaction.xid} at {self._source.text(transaction.end)} is not the text of its type"
                ) from exc
        self.counts.unpublished += 1

    def commit_run(self, transactions: list[Transaction], start: int) -> int:
        """Append the commits of the plain ones among transactions, compiled, up to the first that is not plain.

        Returns:
            How many were taken; the next is for `commit`.
        """
        if not (native.COMPILED and self._source.id_prefix) or self.pseudonyms is not None:
            return 0
        provenance = self._provenance(transactions[start])
        found = self.plans.schema_of(provenance.build, provenance.version, provenance.app)
        if found is None or provenance.trouble or provenance.assurance > 1:
            return 0
        (schema, schema_by), chain, counts = found, self._chain, self.counts
        before = chain.head.seq
        rule = Rule(
            self._source.id_prefix, self._source.binlog, self._source.oplog, schema.id, schema_by, provenance.build, provenance.version,
            provenance.app, provenance is not UNTAGGED, self.plans.of(schema), self.lookup, self._part_bytes, self._tag_bytes_max,
        )  # fmt: skip
        run = chain.run(transactions, start, rule)
        if run.lines:
            self._append(run.lines, chain.head)
            self._last = transactions[run.last]
            self._after = _after_of(run.lines[run.lines.rfind(b"\n", 0, -1) + 1 :])
        commits = chain.head.seq - before
        counts.commits += commits
        counts.rows += run.rows
        counts.unpublished += run.taken - commits
        counts.untagged += commits if provenance is UNTAGGED else 0
        return run.taken

    def _take_label(self, unknown: UnknownLabel) -> None:
        """Have shapes made anew that know a label. The parts that a commit has so far do not count."""
        if self._first_part is not None:
            parts, self._first_part = (self._first_part, self._chain.head.seq), None
            self._append(self._chain.record("void", extras=Extras(void=parts)), self._chain.head)
        self.plans.missed(unknown)

    def _project(self, commit: "_Commit", plans: Mapping[Relation, Plan | None]) -> None:
        """Project the changes one after the other. Flat, because every row of the source passes here."""
        items: list[bytes] = [b"", b""]
        shapes: dict[str, int] = {}
        part = size = skipped = 0
        room = self._part_bytes
        for relation, data in commit.transaction.changes:
            if isinstance(relation, tuple):
                item = _truncate(data, [plans[r] for r in relation])
            else:
                plan = plans[relation]
                if plan is None:
                    skipped += 1
                    continue
                index = shapes.get(plan.shape_id)
                if index is None:
                    index = shapes[plan.shape_id] = len(shapes)
                item = plan.shape_item(data, index)
            if item is None:
                skipped += 1
                continue
            items.append(item)
            size += len(item)
            if size > room:
                self.counts.rows += len(items) - 2
                for some in in_parts(items, size, self._change_bytes):
                    self._emit(commit, some, shapes, (part, False), skipped)
                    part, skipped = part + 1, 0
                items, shapes, size = [b"", b""], {}, 0
        if part or len(items) > 2:
            self.counts.rows += len(items) - 2
            self._emit(commit, items, shapes, (part, True), skipped)
        else:
            self.counts.unpublished += 1

    def _emit(
        self, commit: "_Commit", items: list[bytes], shapes: Mapping[str, int], part: tuple[int, bool], skipped: int
    ) -> None:
        """Append one record of a commit; only its last moves the position.

        Args:
            commit: What all its parts share.
            items: The changes, or a piece of one, behind two places for `by` and `meta`.
            shapes: Hashes of the shapes that the changes use, to their index.
            part: Number of the part, and whether it is the last.
            skipped: How many changes of this part published nothing.
        """
        number, last = part
        chain, transaction = self._chain, commit.transaction
        if not number:
            self._after = chain.position
        items[0] = b"null" if number else commit.provenance.by
        items[1] = commit.meta(number, skipped)
        end = transaction.end
        line = chain.commit(
            self._source.commit_id(transaction),
            transaction.time_us,
            position=self._source.text(end) if last else chain.position,
            items=items,
            tail=Extras(commit.schema, tuple(shapes), None if last and not number else part).text(),
        )
        self._append(line, chain.head)
        if last:
            self.counts.commits += 1
            self.counts.untagged += commit.provenance is UNTAGGED
            self._last, self._first_part = transaction, None
        else:
            self._first_part = self._first_part if number else chain.head.seq
            failpoint("between_parts")

    def _take_notices(self, tags: list[bytes], xid: int) -> None:
        """Take out of a transaction's tags what is none, and hand it on."""
        notices = [tag for tag in tags if isinstance(tag, Notice)]
        if notices:
            self.noticed(notices, xid)
            tags[:] = [tag for tag in tags if not isinstance(tag, Notice)]

    def publishes(self, transaction: Transaction) -> bool:
        """Whether `commit` would append a commit of it; appends nothing.

        Raises:
            DecodeError: A change cannot be read.
        """
        provenance = self._provenance(transaction)
        found = self.plans.schema_of(provenance.build, provenance.version, provenance.app)
        if found is None:
            return False
        schema, _ = found
        plans = {relation: self.plans.plan(relation, schema, transaction.xid) for relation in transaction.relations()}
        self.plans.settle(transaction, plans)
        try:
            for relation, data in transaction.changes:
                if isinstance(relation, tuple):
                    if any(plans[r] for r in relation):
                        return True
                elif (plan := plans[relation]) is not None and plan.shape_item(data, 0) is not None:
                    return True
        except UnknownLabel:
            return True
        return False

    @property
    def last(self) -> dict[str, Any]:
        """The last whole commit, as LogState keeps it; empty before the first."""
        last = self._last
        if last is None:
            return {}
        time = Clock().text(last.time_us)
        return {
            "id": self._source.commit_id(last),
            "position": self._source.text(last.end),
            "after": self._after,
            "xid": last.xid,
            "time": time,
        }

    def refresh(self) -> None:
        """Look sessions up again from here on: called a few times a second, when session records may have come."""
        self._joined.clear()

    def _provenance(self, transaction: Transaction) -> Provenance:
        """Who made it. A request's transactions carry the same tag, so what it means is remembered until `refresh`.

        Per second of their commits: a session record counts for a time only, however fast a backlog is read.
        """
        tags = transaction.tags
        if not tags:
            return UNTAGGED
        tag, time_us = tags[-1], transaction.time_us
        remembered = tag, time_us // 1_000_000
        provenance = self._joined.get(remembered)
        if provenance is None:
            provenance = join(
                tag,
                tag_bytes_max=self._tag_bytes_max,
                time_us=time_us,
                lookup=self.lookup,
                pseudonyms=self.pseudonyms,
            )
            if len(self._joined) < JOINED_MAX:
                self._joined[remembered] = provenance
        return provenance


class _Commit(NamedTuple):
    """What the parts of one commit share."""

    transaction: Transaction
    provenance: Provenance
    schema: str
    schema_by: str

    def meta(self, part: int, skipped: int) -> bytes:
        """Item 1 of one part."""
        transaction, provenance, _, schema_by = self
        meta = f'{{"xid":{transaction.xid}'
        if skipped:
            meta += f',"skipped":{skipped}'
        if not part:
            meta += f',"schema_by":"{schema_by}"'
            if not transaction.atomic:
                meta += ',"atomic":false'
            if provenance.trouble:
                meta += f',"tag":"{provenance.trouble}"'
            if len(transaction.tags) > 1:
                meta += f',"tags":{len(transaction.tags)}'
        return (meta + "}").encode()


def _after_of(line: bytes) -> str:
    """The position of the record before, from a record's line."""
    start = line.index(b'"after":"') + len(b'"after":"')
    return line[start : line.index(b'"', start)].decode()


def _truncate(data: bytes, plans: list[Plan | None]) -> bytes | None:
    entities = [plan.projection.entity for plan in plans if plan is not None]
    if not entities:
        return None
    statement = parse_truncate(data)
    return truncate_item(entities, cascade=statement.cascade, restart_identity=statement.restart_identity)
