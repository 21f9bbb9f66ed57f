"""The shop's database, as the shop sees it: what it does there, whatever the engine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

CONNECT_TIMEOUT_S = 10


class CheckFailed(Exception):
    """There is less in stock than is wanted."""


class Misunderstood(Exception):
    """A value does not fit where it is to go."""


class Store(ABC):
    """A connection of the shop. Errors of the database beside those two are the driver's own."""

    @property
    @abstractmethod
    def closed(self) -> bool:
        """Whether it was lost."""

    @abstractmethod
    def close(self) -> None:
        """End it."""

    @abstractmethod
    def place_order(self, customer: int, lines: Sequence[tuple[int, int]], note: str | None) -> tuple[int, str]:
        """Take from stock and write the order, in one transaction.

        Args:
            customer: Whose it is.
            lines: Product and quantity.
            note: What is said of it.

        Returns:
            (its number, its total).

        Raises:
            LookupError: A product is not there.
            CheckFailed: There is less of it in stock.
        """

    @abstractmethod
    def cancel_order(self, order: int) -> bool:
        """Put the goods back and mark the order, in one transaction; whether there is that order."""

    @abstractmethod
    def set_order(self, order: int, field: str, value: Any) -> bool:
        """Change one field of an order; whether there is that order."""

    @abstractmethod
    def set_email(self, customer: int, email: str) -> bool:
        """Change a customer's address; whether there is that customer."""

    @abstractmethod
    def order(self, order: int) -> Mapping[str, Any] | None:
        """Status, total and note of an order, None where it is not there."""

    @abstractmethod
    def add_customers(self, customers: Sequence[tuple[str, str]]) -> None:
        """Add names with addresses, in one transaction."""
