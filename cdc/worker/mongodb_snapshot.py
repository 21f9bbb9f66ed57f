"""Chunks of MongoDB's collections, told apart from the stream by the time at which they were read.

A chunk is one `find` with read concern snapshot: it sees exactly what was committed up to its cluster time, which the server says, and
that is a position of the oplog. Documents go by `_id` in the server's own order, in which values of all types have their place.
"""

from collections import deque
from collections.abc import Iterator
from typing import Any

from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.raw_bson import RawBSONDocument

from ...schemas.change import RawRow
from ...schemas.errors import DecodeError, Unreachable
from ...schemas.position import format_oplog
from ...transforms.app_schema import AppSchema, Entity
from ..config import Config
from ..log.state import Progress
from ..tail.mongodb_catalog import Catalog, timestamp
from ..tail.mongodb_connection import ERRORS, code
from ..tail.mongodb_wire import Batch, Wire
from ..tail.oplog.collection import CollectionRelation, is_untold, unreadable
from ..tail.oplog.entry import split
from ..tail.oplog.explode import Paths, explode, explode_document
from ..tail.oplog.extended_reading import value_to_bson
from ..tail.oplog.shapes import project
from ..tail.transaction import Mark, Relation
from .snapshot import Chunk, Snapshotter, fitting, key_of

_LATER = frozenset({175, 239, 246})
"""The collection was made, dropped or altered a moment ago, or the time of the read is too long past: others come first."""

_DOING = "a snapshot cannot be read"


class MongodbSnapshotter(Snapshotter):
    """Those of MongoDB.

    Args:
        config: Of the worker.
        catalog: The source's; chunks are read on a connection of its client's.
        schema: Says which entities, and which of their fields.
        progress: The log's own record of how far each entity has come.
        recent: The transactions in the log of which a snapshot may not know yet.
    """

    def __init__(
        self,
        config: Config,
        catalog: Catalog,
        *,
        schema: AppSchema,
        progress: dict[str, Progress],
        recent: deque[Mark],
    ) -> None:
        super().__init__(
            schema=schema, visibility=config.log.visibility, progress=progress, recent=recent, limits=config.limits
        )
        self._catalog, self._patience_s = catalog, config.limits.silence_s
        self._wire: Wire | None = None
        self._paths: dict[str, Paths] = {}

    def close(self) -> None:
        """Close the connection."""
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    def hurry(self) -> None:
        """Nothing: the server tells of everything at once."""

    def take(self) -> bool:
        """As the base says."""
        for entity in self.missing:
            try:
                self.chunk = self._read(entity)
            except Unreachable as exc:
                if exc.__cause__ is not None and code(exc.__cause__) in _LATER:
                    continue
                raise
            if self.chunk is not None:
                return True
        return False

    def _described(self, relation: Relation) -> list[tuple[str, int]]:
        """Nothing: a definition that changes what documents mean spoils the chunk by itself."""
        return []

    def _lay_over(self, chunk: Chunk, relation: Relation, data: bytes) -> None:
        if is_untold(data):
            chunk.spoiled = True
        else:
            super()._lay_over(chunk, relation, explode(data, self._paths[chunk.entity.name]))

    def _read(self, entity: Entity) -> Chunk | None:
        """The next chunk of an entity; None where that is not possible now."""
        relation = CollectionRelation.of(0, *entity.table, b"")
        projection, paths = project(relation, entity, published=entity.published(self._visibility))
        self._paths[entity.name] = paths
        places = [index for index, column in enumerate(projection.shape.columns) if column.field in entity.key]
        progress = self._progress.get(entity.name)
        start = progress.to if progress else None
        found = self._find(entity, start)
        if not self._all_seen(lambda mark: isinstance(mark, int) and mark <= found.at):
            return None
        try:
            rows: list[RawRow] = [[*explode_document(document, paths)] for document in _documents(found.documents)]
        except DecodeError as exc:
            raise unreadable(relation, exc) from exc
        kept = fitting(rows, self._bytes_max)
        last = not found.more and kept == len(rows)
        rows = rows[:kept]
        end_key = None if last else _key(rows[-1], places)
        at = found.at
        return Chunk(
            entity, projection, start, end_key, {key_of(row, places): row for row in rows}, format_oplog(at),
            lambda mark: isinstance(mark, int) and mark <= at, found.until, [], places,
            expected=self._expected(entity) if start is None else 0, source_order=True,
        )  # fmt: skip

    def _find(self, entity: Entity, start: list[object] | None) -> Batch:
        """The first documents after a key, all as of one time. `more`: whether these are not all."""
        database, name = entity.table
        begin = b"" if start is None else _id_document(str(start[0]))
        command: dict[str, Any] = {
            "find": name,
            "sort": {"_id": 1},
            "hint": {"_id": 1},
            "limit": self._rows_max + 1,
            "batchSize": self._rows_max + 1,
            "readConcern": {"level": "snapshot"},
            "$db": database,
            **({"min": RawBSONDocument(begin)} if begin else {}),
        }
        found = self._ask(command)
        if not found.at:
            # Nothing says as of which time a collection is not there: some time since now.
            now = self._catalog.majority_point()
            found = self._ask(command)
            found = found if found.at else found._replace(at=now)
        at, until = found.at, found.until
        count, documents = _count(found.documents), _after(found.documents, begin)
        while not documents and found.cursor:
            # One document may be as large as a reply, and the one at the key may still be there.
            found = self._ask({"getMore": Int64(found.cursor), "collection": name, "$db": database})
            count, documents = count + _count(found.documents), _after(found.documents, begin)
        if found.cursor and self._wire is not None:
            self._wire.end(found.cursor, database, name)
        more = bool(found.cursor) or count > self._rows_max
        if begin and until == at and not more:
            # A range that has a beginning ends before the greatest key there is.
            concern = {"level": "snapshot", "atClusterTime": timestamp(at)}
            greatest = {"find": name, "filter": {"_id": MaxKey()}, "readConcern": concern, "$db": database}
            documents += _after(self._ask(greatest).documents, begin)
        return Batch(documents, 0, at, until, more)

    def _ask(self, command: dict[str, Any]) -> Batch:
        if self._wire is None:
            self._wire = Wire(self._catalog.client, doing=_DOING, user=self._catalog.address.user)
        self._wire.send(command)
        found = self._wire.batch(self._patience_s)
        if found is None:
            raise Unreachable(f"{self._wire.member} does not answer", hint="check that the server runs")
        return found

    def _expected(self, entity: Entity) -> int:
        """How many documents a collection has, as the server thinks."""
        database, name = entity.table
        try:
            return self._catalog.client[database][name].estimated_document_count()
        except ERRORS as exc:
            raise self._catalog.failed(exc, _DOING) from exc


def _key(row: RawRow, places: list[int]) -> list[object]:
    """The key of a row as records have it."""
    return [value.decode() for value in key_of(row, places)]


def _id_document(text: str) -> bytes:
    """A document with nothing but an `_id`, from its Extended JSON."""
    kind, data = value_to_bson(text)
    body = bytes((kind,)) + b"_id\0" + data + b"\0"
    return (len(body) + 4).to_bytes(4, "little") + body


def _documents(data: bytes) -> Iterator[bytes]:
    """Raw documents that stand one behind the other."""
    return (data[at:end] for at, end in split(data))


def _count(data: bytes) -> int:
    return sum(1 for _ in split(data))


def _after(data: bytes, begin: bytes) -> bytes:
    """What stands behind the document whose key a range begins with, if that is still the first."""
    first = next(_documents(data), b"")
    return data[len(first) :] if begin and _has_key(first, begin) else data


def _has_key(document: bytes, begin: bytes) -> bool:
    """Whether the key of a document is that of another one, which has nothing else."""
    return document[4 : len(begin) - 1] == begin[4:-1]
