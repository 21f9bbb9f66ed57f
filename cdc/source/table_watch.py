"""Sees that the rows of a mapped table changed in a way the stream does not tell of, and what must follow from it.

What a table was when its rows were last told is remembered in a file of the worker's, and compared with what it is: at the start,
every few seconds, and when the stream shows a table in a form that is not known. The file is disposable: without it tables are taken as
they are.
"""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Set
from dataclasses import asdict, dataclass
from pathlib import Path

from ...schemas.errors import ACCEPT_GAP, HistoryLost, Refused
from ...transforms.app_schema import AppSchema, Entity
from ...transforms.registry import Registry
from ...transforms.table_name import TableName, quoted
from ..tail.catalog import Catalog
from ..tail.incarnation import Incarnation, holders, incarnations, logged_by, may_hold, name_of
from ..tail.transaction import Relation
from . import ddl_notices, memory
from .ddl_notices import NEW_TYPE, UNLOGGED, Altered, Published, Rewritten
from .step import entities_of

log = logging.getLogger("commitlog")

SETUP = "commitlog setup sets it"


@dataclass(slots=True)
class Known:
    """An entity's table when its rows were last told, the fields that are recorded of it, and those that once were."""

    incarnation: Incarnation
    fields: list[str]
    gone: list[str]


class TableWatch:
    """Remembers tables and compares them.

    Args:
        path: The file.
        epoch: The log's epoch: what was remembered in an earlier one does not count.
        catalog: The source's catalogs.
        publication: The publication's name.
        visibility: That of the log.

    Attributes:
        guarded: Whether event triggers tell of a table that is rewritten.
    """

    def __init__(self, path: Path, *, epoch: int, catalog: Catalog, publication: str, visibility: str) -> None:
        self.guarded: Callable[[], bool] = lambda: True
        self._path, self._epoch, self._catalog = path, epoch, catalog
        self._publication, self._visibility = publication, visibility
        self._known = remembered(path, epoch)
        self._met: set[tuple[int, TableName]] = set()
        """Object ids and names of the tables that the stream showed since the last look and that were not known as such."""
        self._said: set[str] = set()
        self.changed = False
        """What is known is not what the file holds."""

    def look(self, schema: AppSchema, told: Set[str], *, unread: Set[str] = frozenset()) -> dict[str, str]:
        """Compare every table of a schema with what it was.

        Args:
            schema: Says which tables, and which fields of them.
            told: The entities of which the log holds rows.
            unread: Those whose snapshot has not begun: the log may hold rows of theirs, too, as commits told them.

        Returns:
            Entity to why its rows may not be those that were told.

        Raises:
            HistoryLost: A table was taken out of the publication and put back, or has a partition that is not logged.
            Refused: The latter, where the log holds nothing of it yet.
        """
        wanted = {e.name: e for e in schema.entities.values() if e.published(self._visibility)}
        now = incarnations(self._catalog, {e.table for e in wanted.values()}, self._publication)
        renewals: dict[str, str] = {}
        for entity in wanted.values():
            table, was_told = now.get(entity.table), entity.name in told
            renewable = was_told or entity.name in unread
            why = self._compare(entity, table, told=was_told, renewable=renewable)
            if table is not None and renewable and not why:
                why = self._strayed(table, entity.table)
            if why:
                renewals[entity.name] = why
        self._met.clear()
        for name in self._known.keys() - wanted.keys():
            self._leave(name)
        self._check_holders(now, told={wanted[name].table for name in told & wanted.keys()})
        return renewals

    def _leave(self, name: str) -> None:
        """Of an entity that is in no app schema now all fields are gone: should it come back, nobody has told what it was meanwhile."""
        known = self._known[name]
        if known.fields:
            self._known[name] = Known(known.incarnation, [], sorted({*known.gone, *known.fields}))
            self.changed = True

    def _strayed(self, table: Incarnation, name: TableName) -> str:
        """Why the log may have rows of another table as this one's, or lack rows of it, though it is as it was: the stream showed
        another under its name, or itself or a partition under another, since the last look."""
        if any((oid == table.oid) != (met == name) or str(oid) in table.leaves for oid, met in self._met):
            return f"for a while table {table.table}, or a part of it, was another one or had another name"
        return ""

    def _compare(self, entity: Entity, table: Incarnation | None, *, told: bool, renewable: bool) -> str:
        known = self._known.get(entity.name)
        if table is None:
            gone = f"there is no table {quoted(entity.table)}{where_now(self._catalog, known)}"
            self._say(f"{entity.name}: {gone}; nothing of it is recorded")
            return gone if told else ""
        published = entity.published(self._visibility)
        fields = [field for field in published if field in table.columns]
        if len(fields) < len(published):
            missing = [field for field in published if field not in fields]
            unsent = [field for field in missing if field in table.generated]
            for why, names in (
                ("has no column", [field for field in missing if field not in unsent]),
                ("is sent without its generated column", unsent),
            ):
                if names:
                    self._say(f"{entity.name}: table {table.table} {why} {', '.join(names)}; nothing of it is recorded")
        once = {*known.gone, *known.fields} if known is not None else set[str]()
        present = Known(table, fields, sorted(once.difference(fields)))
        why = ""
        if known is not None and told:
            self._check_ways(known.incarnation, table)
        if known is not None and renewable:
            why = next(self._differences(known, present), "")
        if present != known:
            self._known[entity.name], self.changed = present, True
        return why

    def knows(self, relation: Relation, schema: AppSchema) -> bool:
        """Whether a table as the stream shows it is as it was last seen; one that nobody maps is, unless it was mapped by another
        name. One that is not is remembered until the next look."""
        if self._as_seen(relation, schema):
            return True
        self._met.add((relation.oid, relation.table))
        return False

    def _as_seen(self, relation: Relation, schema: AppSchema) -> bool:
        entity = schema.by_table.get(relation.table)
        if entity is None or entity.name not in self._known:
            tables = [known.incarnation for known in self._known.values()]
            return all(table.oid != relation.oid and str(relation.oid) not in table.leaves for table in tables)
        known = self._known[entity.name]
        columns = known.incarnation.columns
        # A TRUNCATE of a partition is not told: but its table is described anew before what comes after.
        return (
            known.incarnation.oid == relation.oid
            and not known.incarnation.leaves
            and all(
                column.name in columns and columns[column.name][1:3] == [column.type_oid, column.modifier]
                for column in relation.columns
                if column.name in known.fields or column.name in entity.fields
            )
        )

    def concerns(self, notice: Rewritten | Altered | Published) -> bool:
        """Whether a notice is of a table that is mapped, or of a partition of one, or of a type, or of the publication."""
        if isinstance(notice, Published):
            return notice.publication == self._publication
        if isinstance(notice, Altered) and not notice.oids:
            return True
        return bool(self._entities({notice.oid} if isinstance(notice, Rewritten) else notice.oids))

    def borne_out(self, notice: Rewritten | Altered | Published, xid: int) -> Rewritten | Altered | Published | None:
        """What is left of a notice by the catalogs, which must show its transaction; None for nothing."""
        left = ddl_notices.borne_out(self._catalog, notice, xid)
        if left != notice:
            what = "a table was dropped"
            if isinstance(notice, Published):
                what = f"publication {self._publication!r} was edited"
            elif isinstance(notice, Rewritten):
                what = f"table {name_of(self._catalog, notice.oid)} was rewritten"
            self._say(f"a message says that {what}, and the catalogs do not bear it out: it is passed over")
        return left

    def changed_by(self, notice: Rewritten | Altered, told: Set[str]) -> Set[str]:
        """The entities whose rows are others after what a notice tells of, among those of which the log holds rows.

        Raises:
            HistoryLost: A table was logged before, or is after it, but not both.
        """
        if isinstance(notice, Altered):
            return self._entities(notice.oids) & told if notice.dropped else set()
        found = self._entities({notice.oid}) & told
        if found and notice.reason & UNLOGGED:
            raise HistoryLost(
                f"table {name_of(self._catalog, notice.oid) or notice.oid} was made LOGGED or UNLOGGED: changes of it may be missing",
                hint=ACCEPT_GAP,
            )
        return found if notice.reason & NEW_TYPE else set()

    def _entities(self, oids: Collection[int]) -> set[str]:
        """The entities of tables, or of partitions of them."""
        return {
            name
            for name, known in self._known.items()
            if known.incarnation.oid in oids or any(int(part) in oids for part in known.incarnation.leaves)
        }

    def save(self) -> None:
        """Keep what is known; the log must hold the renewals first."""
        entities = {
            name: {"incarnation": asdict(known.incarnation), "fields": known.fields, "gone": known.gone}
            for name, known in self._known.items()
        }
        if memory.keep(self._path, entities, epoch=self._epoch):
            self.changed = False

    def published(self, notice: Published, told: Collection[str]) -> None:
        """Take note of how tables were published at one place of the stream.

        Raises:
            HistoryLost: One of which the log holds rows was not, or not wholly.
        """
        for name in sorted(set(told) & self._known.keys()):
            table = self._known[name].incarnation
            if table.ways and not notice.ways.intersection(table.ways):
                raise HistoryLost(
                    f"table {table.table} is not in publication {self._publication!r} any more: changes of it may be missing",
                    hint=ACCEPT_GAP,
                )
            if table.leaves and notice.by_leaf:
                raise HistoryLost(
                    f"publication {self._publication!r} has not publish_via_partition_root: changes of {table.table} may be missing",
                    hint=ACCEPT_GAP,
                )
            if notice.left_out:
                raise HistoryLost(
                    f"publication {self._publication!r} leaves out {notice.left_out}: changes may be missing",
                    hint=ACCEPT_GAP,
                )

    def _check_ways(self, was: Incarnation, now: Incarnation) -> None:
        """Whether a table was in the publication all the time; check_published names one that is not in it now."""
        if was.oid == now.oid and was.ways and now.ways and not set(was.ways) & set(now.ways):
            raise HistoryLost(
                f"table {now.table} was taken out of publication {self._publication!r} and put back: changes of it may be missing",
                hint=ACCEPT_GAP,
            )

    def _differences(self, was: Known, now: Known) -> Iterator[str]:
        """Why the rows that were told may not be those of the table."""
        before, after = was.incarnation, now.incarnation
        if not was.fields:
            yield "for a while it was in no app schema"
        if before.table != after.table:
            yield f"it comes from {after.table} instead of {before.table}"
        if before.oid != after.oid:
            yield f"table {after.table} was dropped and made anew"
        for field in now.fields:
            if field not in was.fields:
                # The values that it once had are those that were told last.
                if field in was.gone or may_hold(self._catalog, [str(after.oid)], field):
                    yield f"column {field} was added"
                continue
            (number, *old_type, form), (number_now, *new_type, form_now) = before.columns[field], after.columns[field]
            if number != number_now:
                yield f"column {field} is another one"
            elif old_type[0] != new_type[0] or (
                old_type != new_type and (before.file, before.leaves) != (after.file, after.leaves)
            ):
                yield f"column {field} has another type"
            elif any(form_now.get(name) != text for name, text in form.items()):
                yield f"the type of column {field} was altered"
            elif self._may_be_rewritten(field, before, after):
                yield f"table {after.table} was rewritten, and column {field} altered"
        yield from self._partitions(before.leaves, after.leaves)

    def _may_be_rewritten(self, field: str, before: Incarnation, after: Incarnation) -> bool:
        """Whether other values may have come into a column without another type: nobody says so where no event trigger does, nor whether
        a generated one got another expression."""
        return (
            (before.file, before.leaves) != (after.file, after.leaves)
            and field in before.altered
            and before.altered[field] != after.altered.get(field)
            and (field in before.generated or not self.guarded())
        )

    def _partitions(self, before: Mapping[str, list[int]], after: Mapping[str, list[int]]) -> Iterator[str]:
        if before.keys() - after.keys():
            yield "a partition was detached or dropped"
        kept = [(was, after[oid]) for oid, was in before.items() if oid in after]
        if any(now[0] != was[0] for was, now in kept):
            yield "a partition was truncated or rewritten"
        if any(now[1:] != was[1:] for was, now in kept):
            yield "a partition was detached and attached again"
        new = after.keys() - before.keys()
        if new and may_hold(self._catalog, new):
            yield "a partition with rows was attached"

    def _check_holders(self, tables: Collection[TableName], told: Set[TableName]) -> None:
        for holder in holders(self._catalog, tables):
            if holder.old_rows == "unlogged" and holder.table != holder.of:
                message = f"partition {holder.quoted} of {quoted(holder.of)} is UNLOGGED"
                if holder.of in told:
                    raise HistoryLost(
                        f"{message}: changes of it are missing", hint=f"{logged_by(holder)}, then {ACCEPT_GAP}"
                    )
                raise Refused(f"{message}: the server logs nothing of it", hint=logged_by(holder))
            if holder.old_rows == "none":
                self._say(
                    f"table {holder.quoted} has no replica identity: the server refuses UPDATE and DELETE of it; {SETUP}"
                )
            elif holder.old_rows == "refused":
                self._say(
                    f"table {holder.quoted} is to log whole old rows and has a virtual generated column: the server refuses UPDATE and"
                    " DELETE of it; commitlog setup takes it back to old keys"
                )
            elif holder.old_rows != "full":
                why = "beside a virtual generated column the server refuses it" if holder.virtual else SETUP
                self._say(
                    f"table {holder.quoted} does not log whole old rows: commits lack what was there before; {why}"
                )

    def _say(self, text: str) -> None:
        """Warn, once."""
        if text not in self._said:
            self._said.add(text)
            log.warning("%s", text)


def missing_tables(path: Path, catalog: Catalog, registry: Registry) -> Iterator[str]:
    """The tables that app schemas map and that do not exist, one sentence each, with what they are called now where that is known.

    Args:
        path: A worker's memory of tables.
        catalog: The source.
        registry: The app schemas.
    """
    known = {known.incarnation.table: known for known in remembered(path).values()}
    for entity in entities_of(registry):
        if catalog.table(*entity.table) is None:
            name = quoted(entity.table)
            yield f"table {name} of {entity.name} does not exist{where_now(catalog, known.get(name))}"


def where_now(catalog: Catalog, known: Known | None) -> str:
    """Behind the name of a table that is missing: what it is called now, empty where it is not known to be there."""
    name = name_of(catalog, known.incarnation.oid) if known else ""
    return f": it was renamed to {name}" if name else ""


def remembered(path: Path, epoch: int | None = None) -> dict[str, Known]:
    """What the file holds by entity; nothing where it cannot be read, or is of another epoch than the one asked for."""
    try:
        return {
            name: Known(Incarnation(**known["incarnation"]), known["fields"], known.get("gone", []))
            for name, known in memory.kept(path, epoch=epoch).items()
        }
    except (TypeError, KeyError, AttributeError):
        return {}
