"""Build 2 of the shop, as a process of its own: an order may have a day of delivery, in a new column."""

from collections.abc import Sequence

from .shop import ROUTES, Document, Route, changed, serve
from .shop_database import Connection

MIGRATION = "ALTER TABLE orders ADD COLUMN deliver_on date"


def set_delivery(connection: Connection, order: int, document: Document) -> tuple[str, Document]:
    """PUT /orders/ID/delivery {"deliver_on"}."""
    found = connection.execute("UPDATE orders SET deliver_on = %s WHERE id = %s", [document["deliver_on"], order])
    return changed(found, order)


ROUTES_2: Sequence[Route] = (*ROUTES, ("PUT", r"/orders/(\d+)/delivery", set_delivery))


if __name__ == "__main__":
    serve(ROUTES_2)
