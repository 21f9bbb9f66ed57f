"""What the oplog says of collections beside their documents: made, dropped, renamed, altered. It travels as Notices, see tail/transaction.py."""

from dataclasses import asdict, dataclass
from typing import Any, Final

import orjson

from ....schemas.errors import DecodeError
from ..transaction import Notice
from .document import BINARY, BOOL, DOCUMENT, Value, items, string

RENAME: Final = "renameCollection"
DROP: Final = "drop"
DROP_DATABASE: Final = "dropDatabase"
CREATE: Final = "create"
ALTER: Final = "collMod"
EMPTY: Final = "emptycapped"

DEFINING: Final = frozenset((RENAME, DROP, DROP_DATABASE, CREATE, ALTER, EMPTY))
HARMLESS: Final = frozenset(
    (
        "createIndexes",
        "dropIndexes",
        "deleteIndexes",
        "dropIndex",
        "deleteIndex",
        "startIndexBuild",
        "commitIndexBuild",
        "abortIndexBuild",
        "dbCheck",
    )
)
"""Commands that change no document and no meaning of one."""

IMAGES: Final = b"changeStreamPreAndPostImages"


@dataclass(frozen=True, slots=True)
class Definition:
    """A command of the oplog that defines.

    Args:
        command: One of DEFINING.
        database: Where.
        collection: The collection that it is about, by the name it had before; empty of a whole database.
        uuid: The collection's, in hex.
        to: Of a rename the new name, `database.collection`.
        replaced: Of a rename the uuid of the collection that had the new name and is gone, in hex.
        images: Of `create` and `collMod` whether its pre-images are kept from now on; None where that is not said.
    """

    command: str
    database: str
    collection: str
    uuid: str = ""
    to: str = ""
    replaced: str = ""
    images: bool | None = None

    @property
    def names(self) -> list[tuple[str, str]]:
        """The collections that it is about, by database and name."""
        before, _, after = self.to.partition(".")
        return [(self.database, self.collection), *([(before, after)] if self.to else [])]

    def notice(self) -> Notice:
        """As it travels."""
        return Notice(orjson.dumps(asdict(self)))

    @staticmethod
    def read(notice: bytes) -> "Definition":
        """The inverse of `notice`."""
        return Definition(**orjson.loads(bytes(notice)))


def read_definition(command: str, database: str, uuid: bytes, o: dict[bytes, Value]) -> Definition:
    """Take a command apart.

    Args:
        command: One of DEFINING.
        database: Of the entry's namespace.
        uuid: Of the entry.
        o: The entry's `o`.

    Raises:
        DecodeError: It is malformed.
    """
    told: dict[str, Any] = {"uuid": uuid.hex()}
    target = string(o[command.encode()])
    if command == DROP_DATABASE:
        return Definition(command, database, "")
    if target is None:
        raise DecodeError(f"a command {command} without a collection")
    collection = target.decode(errors="replace")
    if command == RENAME:
        to = string(o.get(b"to"))
        if to is None or "." not in collection or b"." not in to:
            raise DecodeError("a collection is renamed from nothing, or to nothing")
        database, _, collection = collection.partition(".")
        told["to"] = to.decode(errors="replace")
        replaced = o.get(b"dropTarget")
        if replaced is not None and replaced[0] == BINARY:
            told["replaced"] = replaced[1][5:].hex()
    kind, images = o.get(IMAGES, (0, b""))
    if kind == DOCUMENT:
        told["images"] = items(images).get(b"enabled") == (BOOL, b"\1")
    return Definition(command, database, collection, **told)
