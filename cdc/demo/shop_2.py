"""Build 2 of the shop, as a process of its own: an order may have a day of delivery, in a new column."""

from collections.abc import Sequence
from typing import Any

from .shop import OK, ROUTES, Connection, Document, Route, serve

MIGRATION = "ALTER TABLE orders ADD COLUMN deliver_on date"


def set_delivery(connection: Connection, order: int, document: Document) -> tuple[str, Document]:
    """PUT /orders/ID/delivery {"deliver_on"}."""
    parameters: list[Any] = [document["deliver_on"], order]
    row = connection.execute("UPDATE orders SET deliver_on = %s WHERE id = %s RETURNING id", parameters).fetchone()
    if row is None:
        raise LookupError(f"no order {order}")
    return OK, {"id": order, "deliver_on": document["deliver_on"]}


ROUTES_2: Sequence[Route] = (*ROUTES, ("PUT", r"/orders/(\d+)/delivery", set_delivery))


if __name__ == "__main__":
    serve(ROUTES_2)
