"""The collections of a MongoDB that a fork is compared with."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bson.raw_bson import RawBSONDocument
from pymongo.client_session import ClientSession

from ....schemas.shape import Shape
from ....transforms.table_name import table_name
from ...tail.mongodb_address import parse
from ...tail.mongodb_connection import ERRORS, connect, failure
from ..model import EntityModel
from .connection import PATIENCE_S
from .documents import Documents
from .writes import RAW


class MongoTables:
    """All collections as they are at one moment, which is that of the first question.

    Args:
        url: `mongodb://…` or `mongodb+srv://…`.
        models: The entities, with where their fields stand in documents.

    Raises:
        CommitLogError: It cannot be reached.
    """

    def __init__(self, url: str, models: Mapping[str, EntityModel]) -> None:
        self._user = parse(url, "--check").user
        self._client = connect(url, patience_s=PATIENCE_S, where="--check")
        self._session: ClientSession = self._client.start_session(snapshot=True)
        self._models = models

    def close(self) -> None:
        """End the connection."""
        self._session.end_session()
        self._client.close()

    def columns(self, shape: Shape) -> frozenset[str]:
        """The fields of a shape, any of which a document may have."""
        database, name = table_name(shape.table)
        try:
            there = self._client[database].list_collection_names(filter={"name": name}, authorizedCollections=True)
        except ERRORS as exc:
            raise self._failure(shape, exc) from exc
        return frozenset(column.field for column in shape.columns) if there else frozenset()

    def rows(self, shape: Shape, fields: Sequence[str]) -> Iterator[dict[str, object]]:
        """The collection's documents as records would hold them."""
        database, name = table_name(shape.table)
        documents = Documents.of(self._models[shape.entity], name)
        found: Any = self._client[database].get_collection(name, codec_options=RAW)
        try:
            each: RawBSONDocument
            for each in found.find({}, session=self._session):
                texts = documents.texts(bytes(each.raw))
                yield {field: texts[field] for field in fields}
        except ERRORS as exc:
            raise self._failure(shape, exc) from exc

    def _failure(self, shape: Shape, exc: Exception) -> Exception:
        return failure(exc, doing=f"{shape.table} cannot be read", user=self._user)
