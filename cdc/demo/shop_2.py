"""Build 2 of the shop, as a process of its own: an order may have a day of delivery."""

from collections.abc import Sequence

from .shop import ROUTES, Document, Route, changed, serve
from .shop_database import Store


def set_delivery(store: Store, order: int, document: Document) -> tuple[str, Document]:
    """PUT /orders/ID/delivery {"deliver_on"}."""
    return changed(store.set_order(order, "deliver_on", document["deliver_on"]), order)


ROUTES_2: Sequence[Route] = (*ROUTES, ("PUT", r"/orders/(\d+)/delivery", set_delivery))


if __name__ == "__main__":
    serve(ROUTES_2)
