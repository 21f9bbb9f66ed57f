"""pymongo, wrapped: the same names, results and errors, and what a request writes carries its session's tag.

Change `import pymongo` to `from commitlog.drivers import pymongo`. Where a session is bound (`session.bind`, or the
middleware), a transaction that wrote writes a small document into `commitlog.stamps` as its last write, in the round trip of
its commit. Writes outside of transactions stay there: the stamp goes out once per request and server session before the first
of them, in its round trip, and MongoDB's oplog ties the others to it by lsid and txnNumber. `commitlog setup` makes the
collection; the app's user needs find, insert and update on it.

Tagged: every write in a transaction, and outside of transactions insert, `update_one`, `replace_one`, `delete_one`,
`find_one_and_*`, bulk writes of those, and GridFS, of `MongoClient` and `AsyncMongoClient`.

Not tagged, and counted as `on_untagged` says, because MongoDB logs no session with it: outside of transactions `update_many`,
`delete_many` and bulk writes that hold them, `w=0`, `retryWrites=False`, writes by `Database.command`, `$out` and `$merge`,
what drops and renames; a standalone server and mongos; a user who may not write `commitlog.stamps`.
`MongoClient(lone_writes="transaction")` puts each command that writes into a transaction of its own, which tags `update_many`
and the like, too, and fails as transactions do.

pymongo 4.18 or later. What differs: `commitlog.stamps` has a document for each server session, with a date `at`; each request of a server session
begins a new span of txnNumbers (`drivers/mongodb_stamp.py`); commands of ours are not published to command listeners.
"""

from __future__ import annotations

from typing import Any

import pymongo as _pymongo
from pymongo import ASCENDING as ASCENDING
from pymongo import DESCENDING as DESCENDING
from pymongo import GEO2D as GEO2D
from pymongo import GEOSPHERE as GEOSPHERE
from pymongo import HASHED as HASHED
from pymongo import MAX_SUPPORTED_WIRE_VERSION as MAX_SUPPORTED_WIRE_VERSION
from pymongo import MIN_SUPPORTED_WIRE_VERSION as MIN_SUPPORTED_WIRE_VERSION
from pymongo import TEXT as TEXT
from pymongo import CursorType as CursorType
from pymongo import DeleteMany as DeleteMany
from pymongo import DeleteOne as DeleteOne
from pymongo import IndexModel as IndexModel
from pymongo import InsertOne as InsertOne
from pymongo import ReadPreference as ReadPreference
from pymongo import ReplaceOne as ReplaceOne
from pymongo import ReturnDocument as ReturnDocument
from pymongo import UpdateMany as UpdateMany
from pymongo import UpdateOne as UpdateOne
from pymongo import WriteConcern as WriteConcern
from pymongo import __version__ as __version__
from pymongo import get_version_string as get_version_string
from pymongo import has_c as has_c
from pymongo import timeout as timeout
from pymongo import version as version
from pymongo import version_tuple as version_tuple

from .. import submodules
from ..pymongo_stamp import Untagged as Untagged
from .asynchronous.mongo_client import AsyncMongoClient as AsyncMongoClient
from .synchronous.mongo_client import MongoClient as MongoClient

__all__ = [*_pymongo.__all__, "Untagged"]  # pyright: ignore[reportUnsupportedDunderAll] - names come by the star

submodules.install(__name__, _pymongo.__name__)


def __getattr__(name: str) -> Any:
    return getattr(_pymongo, name)
