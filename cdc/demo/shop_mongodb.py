"""The shop on pymongo. The import is the line that ties it to commitlog; it was `import pymongo`."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar

from bson.decimal128 import Decimal128
from bson.errors import InvalidDocument
from pymongo.errors import WriteError

from ...drivers import pymongo
from .shop_database import CONNECT_TIMEOUT_S, CheckFailed, Misunderstood, Store

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession

Document = dict[str, Any]
T = TypeVar("T")


class MongoStore(Store):
    """See the base. Orders hold their own lines; what needs a number takes the next one from `numbers`."""

    def __init__(self, url: str) -> None:
        self._client: pymongo.MongoClient[Document] = pymongo.MongoClient(
            url, serverSelectionTimeoutMS=CONNECT_TIMEOUT_S * 1000
        )
        self._database = self._client.get_default_database()

    @property
    def closed(self) -> bool:
        # It finds its own way back to a server.
        return False

    def close(self) -> None:
        self._client.close()

    def place_order(self, customer: int, lines: Sequence[tuple[int, int]], note: str | None) -> tuple[int, str]:
        def place(session: ClientSession) -> tuple[int, str]:
            number = self._numbers("orders", 1, session)
            priced = [self._take(product, quantity, session) for product, quantity in lines]
            total = sum((line["price"].to_decimal() * line["quantity"] for line in priced), Decimal())
            order = {"_id": number, "customer_id": customer, "status": "new", "total": Decimal128(total), "note": note}
            placed = datetime.now(UTC)
            self._database["orders"].insert_one({**order, "placed_at": placed, "lines": priced}, session=session)
            return number, str(total)

        return self._transaction(place)

    def cancel_order(self, order: int) -> bool:
        def cancel(session: ClientSession) -> bool:
            change = {"$set": {"status": "cancelled"}}
            found = self._database["orders"].find_one_and_update({"_id": order}, change, session=session)
            for line in found["lines"] if found else ():
                back = {"$inc": {"stock": line["quantity"]}}
                self._database["products"].update_one({"_id": line["product"]}, back, session=session)
            return found is not None

        return self._transaction(cancel)

    def set_order(self, order: int, field: str, value: Any) -> bool:
        return self._set("orders", order, field, value)

    def set_email(self, customer: int, email: str) -> bool:
        return self._set("customers", customer, "email", email)

    def order(self, order: int) -> Mapping[str, Any] | None:
        found = self._database["orders"].find_one({"_id": order})
        return {"status": found["status"], "total": str(found["total"]), "note": found["note"]} if found else None

    def add_customers(self, customers: Sequence[tuple[str, str]]) -> None:
        def add(session: ClientSession) -> None:
            first = self._numbers("customers", len(customers), session)
            documents = [{"_id": first + n, "name": name, "email": email} for n, (name, email) in enumerate(customers)]
            self._database["customers"].insert_many(documents, session=session)

        self._transaction(add)

    def _transaction(self, work: Callable[[ClientSession], T]) -> T:
        with self._client.start_session() as session, _errors():
            return session.with_transaction(work)

    def _numbers(self, name: str, count: int, session: ClientSession) -> int:
        """The first of so many new numbers."""
        change = {"$inc": {"last": count}}
        before = self._database["numbers"].find_one_and_update({"_id": name}, change, upsert=True, session=session)
        return (before["last"] if before else 0) + 1

    def _take(self, product: int, quantity: int, session: ClientSession) -> Document:
        """Take from stock; the line of an order."""
        enough = {"_id": product, "stock": {"$gte": quantity}}
        products = self._database["products"]
        found = products.find_one_and_update(enough, {"$inc": {"stock": -quantity}}, session=session)
        if found is None:
            if products.find_one({"_id": product}, session=session) is None:
                raise LookupError(f"no product {product}")
            raise CheckFailed
        return {"product": product, "quantity": quantity, "price": found["price"]}

    def _set(self, collection: str, number: int, field: str, value: Any) -> bool:
        with _errors():
            return self._database[collection].update_one({"_id": number}, {"$set": {field: value}}).matched_count == 1


@contextmanager
def _errors() -> Generator[None]:
    try:
        yield
    except (WriteError, InvalidDocument, OverflowError, TypeError) as exc:
        raise Misunderstood from exc
