"""What a fork asks of the database it lives in, whatever engine that is.

A store is one connection. It makes the fork's tables and applies changes to them; what is decided about a change, and when, is
decided above it. Values go in as records hold them, and come out as the text that the database writes for them.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

from ...schemas.errors import Refused, Unreachable
from ...schemas.record import Head
from ...transforms.table_name import TableName
from .batch import Op, Step
from .merge import Value
from .model import EntityModel
from .state import Applied, Memory
from .table_plan import Evolution, TablePlan
from .units import Place

Texts = dict[str, Value]
"""Field to a value as the target writes it as text; None is SQL's NULL."""

Refusal = Literal["unique", "foreign key", "check", "not null", "exclusion", "value", "refused"]


class Rejected(Exception):
    """The target will not have a row: a constraint, a type, a trigger. It becomes a conflict.

    Args:
        kind: What refused it.
        text: What the target said, in one line.
    """

    def __init__(self, kind: Refusal, text: str) -> None:
        super().__init__(text)
        self.kind: Refusal = kind


class Again(Exception):
    """A whole transaction is to be tried again: another one was in its way."""


class Undone(Exception):
    """What was done since a savepoint is to be undone."""


PUT_BACK = "put it back, or commitlog fork drop and fork anew"
"""What to do where something of the fork's own is not there any more."""


def unreachable(text: str) -> Unreachable:
    """The error of a server that does not answer, or that cut the connection."""
    return Unreachable(f"the fork's database cannot be reached: {text}", hint="check --into, and that the server runs")


def altered(text: str) -> Refused:
    """The error of a table or a column that is gone."""
    return Refused(f"the fork's database is not as the fork left it: {text}", hint=PUT_BACK)


class Parts(Protocol):
    """Transactions that have a limit: a commit beyond it is applied in several."""

    @property
    def full(self) -> bool:
        """Whether the transaction in hand is to be committed before more is written."""
        ...

    def commit(self, applied: Applied, *, epoch: int, head: Head, place: Place) -> None:
        """Commit what was written, and go on in another transaction, which moves the position when it is committed.

        Args:
            applied: Where the fork stands, which is before the commit in hand.
            epoch: The epoch of that commit.
            head: Its last record.
            place: Its changes before this place are applied.
        """


class Store(Protocol):
    """A fork's database.

    Every method but `close` may raise Rejected, Again, and of CommitLogError:

    - Unreachable: The server does not answer, or cut the connection. What was not committed is gone; of a commit nobody knows.
    - Refused: A privilege, a table or a setting is not what the fork needs.

    Attributes:
        engine: What the engine is called.
        ddl_in_transaction: Whether tables are made and changed inside a transaction. Where not, every step of it is done at once,
            and the same step done again changes nothing.
    """

    engine: str
    ddl_in_transaction: bool

    def close(self) -> None:
        """End the connection, and with it the lock and the transaction in hand."""

    def __enter__(self) -> "Store": ...

    def __exit__(self, *_: object) -> None: ...

    @property
    def broken(self) -> bool:
        """Whether the connection is lost."""
        ...

    @property
    def parts(self) -> Parts | None:
        """How a commit is applied that a transaction does not take; None where one takes any."""
        ...

    @property
    def memory(self) -> Memory:
        """What the fork remembers."""
        ...

    def database(self) -> tuple[str, str]:
        """(the server's identifier as the genesis of a log of it says it, empty where it is not to be known; the database's name).

        Raises:
            Refused: No fork can live in the database.
        """
        ...

    def place(self) -> str:
        """What tells the server from others that have a database of this name, empty where it is not to be known."""
        ...

    def lock(self) -> None:
        """Keep every other fork process off this database until the connection ends.

        Raises:
            Locked: There is one.
        """

    def transaction(self) -> AbstractContextManager[object]:
        """A transaction: committed at its end, rolled back by an exception."""
        ...

    def savepoint(self) -> AbstractContextManager[object]:
        """A part of the transaction in hand: undone by Rejected and Undone, which go on. One at a time."""
        ...

    # The fork's own tables.

    def shown(self, table: TableName) -> str:
        """What a table of the source is called here."""
        ...

    def plan_table(self, model: EntityModel) -> TablePlan:
        """See what a table needs. Not inside a transaction.

        Raises:
            Refused: A table of that name is there, and the fork cannot take it; or the engine cannot have such a table.
        """
        ...

    def plan_evolution(self, old: EntityModel, new: EntityModel) -> Evolution:
        """See what a further shape needs. Not inside a transaction.

        Raises:
            Refused: A column got another type; the owner decides what becomes of the values that are there. Or the table got
                another name, and there is a table of that name.
        """
        ...

    def make_tables(self, plans: Sequence[TablePlan]) -> None:
        """Make what tables need, after the memory."""

    def evolve(self, change: Evolution) -> None:
        """Change a table for a further shape."""

    def drop_tables(self) -> list[str]:
        """Drop what the fork made; what is left and why, as texts.

        Raises:
            Refused: Something of the owner's depends on it.
        """
        ...

    def load(self, models: Mapping[str, EntityModel]) -> None:
        """Take over the tables of these entities as they are now: changes are applied to them.

        Raises:
            Refused: A table or a column is not there any more.
        """

    def notes(self, plans: Sequence[TablePlan]) -> list[str]:
        """What the owner of a fork should know of all its tables together."""
        ...

    # Changes, inside the transaction in hand, to the tables that were loaded.

    def mark(self, tags: Sequence[str]) -> None:
        """Write tags into the transaction, by which a tail of the fork's own database knows where it came from."""

    def check_at_once(self) -> None:
        """Check constraints in the transaction in hand at each statement, not at its end."""

    def run(self, steps: Sequence[Step]) -> list[Op] | None:
        """Apply changes, each only to a row that is as upstream says it was.

        Returns:
            Of the rows of a snapshot those that are there and differ: they were left alone. None where anything was not as upstream
            says: some of the changes may have been applied, and the caller rolls back to before.
        """
        ...

    def read(self, entity: str, key: Mapping[str, Any]) -> Texts | None:
        """The row of a key, locked against writers; None where there is none."""
        ...

    def cast(self, entity: str, values: Mapping[str, Any]) -> Texts:
        """Values of a record as `read` would give them, had they been written."""
        ...

    def cast_all(self, entity: str, rows: Sequence[Mapping[str, Any]]) -> list[Texts]:
        """As `cast`, of many rows with the same fields."""
        ...

    def scan(self, entity: str) -> Iterator[Texts]:
        """All rows, as `read` gives them, in any order; not inside a transaction. Until the end nothing else is asked."""
        ...

    def insert(self, entity: str, after: Mapping[str, Any]) -> None:
        """Write a new row."""

    def update(self, entity: str, key: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        """Set fields of the row of a key."""

    def delete(self, entity: str, key: Mapping[str, Any]) -> None:
        """Delete the row of a key."""

    def value(self, entity: str, field: str, text: Value) -> object:
        """What a record would hold for a value of the fork."""
        ...

    def holds_more(self, entity: str, keys: Sequence[Mapping[str, Any]]) -> bool:
        """Whether one of these rows, deleted and written again, might lose something: other tables refer to it, or its owner has added columns."""
        ...
