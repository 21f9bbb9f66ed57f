"""A backlog behind a position that a reader names itself, in a log of which the server keeps nothing for anybody."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import workload
from backlog import LAST, WARM
from worker import SCHEMA


@dataclass(slots=True)
class PlacedBacklog:
    """What is drained in one case; `create`, `end` and `row_bytes` are the engine's.

    Args:
        server: Where it is.
        database: The name of its own database.
        rows_per_transaction: Rows, or documents, that one request changes.
        warmup_rows: The rows before the clock starts.
        rows: The rows that are timed.
        as_client: Who writes.
        begin: Called at the position before the first row, by readers that must have been there.
    """

    app_schema: ClassVar[str] = SCHEMA

    server: Any
    database: str
    rows_per_transaction: int
    warmup_rows: int
    rows: int
    as_client: Callable[..., int]
    begin: Callable[[Any], None] = lambda _: None
    start: str = ""
    """The position before the first row of the warm-up."""

    @property
    def url(self) -> str:
        """Of the database, as root."""
        url: str = self.server.database_url(self.database)
        return url

    @property
    def schema(self) -> str:
        """The app schema."""
        return self.app_schema.replace(f"public.{workload.TABLE}", f"{self.database}.{workload.TABLE}")

    def write(self) -> None:
        """Write warm-up and backlog."""
        for phase, (rows, marker) in enumerate(((self.warmup_rows, WARM), (self.rows, LAST)), 1):
            workload.write(
                self.url,
                rows=rows,
                rows_per_transaction=self.rows_per_transaction,
                phase=phase,
                marker=marker,
                as_client=self.as_client,
            )
            self.written()

    def written(self) -> None:
        """Called behind the warm-up, and behind the backlog."""

    def copy_slot(self, name: str) -> str:
        """Where a reader starts: the position before the first row of the warm-up, the same for all."""
        return self.start

    def drop_slot(self, slot: str) -> None:
        """The server keeps nothing for a reader."""

    def drop(self) -> None:
        """Drop the database."""
        self.server.drop_database(self.database)
