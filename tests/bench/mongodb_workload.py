"""The rows of `workload`, as documents in a collection of MongoDB, changed by tagged requests of the same fifty users.

It only writes; it reads nothing back.
"""

from functools import partial
from typing import Any

import workload
from backlog import LAST, WARM
from bson.binary import Binary
from bson.decimal128 import Decimal128
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.database import Database
from workload import COLUMNS, TABLE, Rows, request_of

from commitlog.drivers import pymongo, session

FIELDS = ("_id", *COLUMNS[1:])
"""What a document has."""


def create(database: Database[dict[str, Any]]) -> None:
    """Make the collection, and that of the stamps, as `commitlog setup` does."""
    database.create_collection(TABLE, changeStreamPreAndPostImages={"enabled": True})
    stamps = database.client["commitlog"]
    if "stamps" not in stamps.list_collection_names():
        stamps.create_collection("stamps")


def write_as_client(
    url: str, client: int, transactions: int, rows_per_transaction: int, note: str | None = None
) -> int:
    """As `workload.write_as_client`, on another server: lone writes, the inserts of a request by insert_many."""
    return _write(url, client, transactions, rows_per_transaction, note, whole=False)


def write_whole_as_client(
    url: str, client: int, transactions: int, rows_per_transaction: int, note: str | None = None
) -> int:
    """The same, with a transaction of several documents for each request."""
    return _write(url, client, transactions, rows_per_transaction, note, whole=True)


def _write(
    url: str, client: int, transactions: int, rows_per_transaction: int, note: str | None, *, whole: bool
) -> int:
    session.configure(session_key="bench", on_untagged="raise", **workload.APP)
    rows = Rows(client)
    changed = 0
    # Only who writes a backlog does not wait for the disk.
    with pymongo.MongoClient(url, w=1) as server:
        orders = server.get_default_database()[TABLE]
        for number in range(transactions):
            changes = rows.next(rows_per_transaction, note)
            with request_of(client * 1_000_003 + number):
                change = partial(_change, orders, *changes, rows.status())
                if whole:
                    # Again where it came into another's way.
                    with server.start_session() as open_session:
                        changed += open_session.with_transaction(change)
                else:
                    changed += change(None)
    return changed


def _change(
    orders: Collection[dict[str, Any]],
    inserts: list[tuple[Any, ...]],
    updates: list[int],
    deletes: list[int],
    status: str,
    open_session: ClientSession | None,
) -> int:
    changed = 0
    documents = [dict(zip(FIELDS, map(_value, COLUMNS, row), strict=True)) for row in inserts]
    # The last write of a backlog is an insert: of that it is seen that all of it is in the log.
    held = [documents.pop()] if len(documents) > 1 and documents[-1]["note"] in (WARM, LAST) else []
    if documents:
        changed += len(orders.insert_many(documents, session=open_session).inserted_ids)
    for number in updates:
        change = {"$set": {"status": status, "paid": number % 2 == 0}, "$inc": {"quantity": 1}}
        changed += orders.update_one({"_id": number}, change, session=open_session).matched_count
    for number in deletes:
        changed += orders.delete_one({"_id": number}, session=open_session).deleted_count
    for document in held:
        orders.insert_one(document, session=open_session)
        changed += 1
    return changed


def _value(column: str, value: Any) -> Any:
    """A value of `workload.Rows` as this server takes it."""
    match column:
        case "amount":
            return Decimal128(value)
        case "details":
            return value.obj
        case "reference":
            return Binary.from_uuid(value)
        case _:
            return value
