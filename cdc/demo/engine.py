"""What the demo needs of a database's engine: a server, plain statements on it, and what is said differently of it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Protocol


class Server(Protocol):
    """A server on which databases are made and dropped."""

    @property
    def url(self) -> str: ...

    @property
    def version(self) -> str: ...

    def create_database(self, name: str) -> str: ...

    def drop_database(self, name: str) -> None: ...


class Engine(ABC):
    """One engine."""

    title: ClassVar[str]
    """As people call it."""
    driver: ClassVar[str]
    """The Python library for it; the wrapped one is of the same name."""
    extra: ClassVar[str]
    """The extra of this package that brings it."""
    example: ClassVar[str]
    """A database's URL."""
    variable: ClassVar[str]
    """The environment variable that names a server somebody else runs."""
    password_variable: ClassVar[str] = ""
    """Where commands find a password that their URL lacks; empty where a URL must have it."""
    schema: ClassVar[str]
    """What the names of the shop's app schemas begin with."""
    order: ClassVar[tuple[str, ...]]
    """The fields of an order of version 1, its key first."""
    column: ClassVar[str]
    """What a field is called there."""
    stock_statement: ClassVar[str]
    """What corrects the stock of product 4, as `execute` takes it."""
    delivery_statement: ClassVar[str]
    """What an order needs for a day of delivery, as `execute` takes it; empty where it needs nothing."""

    clock_s: ClassVar[float] = 0.0
    """Its log notes when a transaction was committed in whole units of this; 0 where that is finer than anything we measure."""

    @abstractmethod
    def fetch(self) -> None:
        """Fetch the server's programs where that takes long and they are not there yet.

        Raises:
            ServerFailed: They cannot be had.
        """

    @abstractmethod
    def provide(self) -> AbstractContextManager[Server]:
        """A running server."""

    @abstractmethod
    def is_given(self, server: Server) -> bool:
        """Whether somebody else runs it."""

    @abstractmethod
    def made_by_setup(self, server: Server) -> list[str]:
        """The databases that `commitlog setup` is going to make there beside the shop's."""

    @abstractmethod
    def namespace(self, database: str) -> str:
        """What the name of a table in an app schema begins with."""

    @abstractmethod
    def make_shop(self, url: str) -> None:
        """Make the shop's tables, with what is in them from the beginning."""

    @abstractmethod
    def execute(self, url: str, *statements: str) -> None:
        """Run statements without the wrapper, each a transaction of its own."""

    @abstractmethod
    def published(self, url: str) -> Mapping[str, Sequence[object]]:
        """By table: every published row of a database, in a form to be compared, in the order of its key."""

    @abstractmethod
    def ids(self, url: str, table: str, above: int = 0) -> list[int]:
        """The numbers of a table's rows above one, sorted."""

    @abstractmethod
    def recorded(self, value: Any) -> Any:
        """How a value stands in the log.

        Args:
            value: An int, a str or a Decimal.
        """

    @abstractmethod
    def client(self, url: str) -> str:
        """The command that opens the engine's own client there; a password it finds elsewhere."""
