"""What a worker needs of a source, whatever its engine: one of these for each attempt.

A position is a whole number that grows along the source's log; records have it as the engine writes it.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from ...transforms.app_schema import AppSchema, Entity
from ...transforms.project import Projection
from ...transforms.registry import Registry
from ..config import Config
from ..log.chain import ChainWriter
from ..log.state import LogState, Progress
from ..tail.enums import Enums
from ..tail.items import ShapeItem
from ..tail.late_keys import LateKey
from ..tail.transaction import Mark, Notice, Relation, Transaction
from ..telemetry.vitals import Vitals
from .snapshot import Snapshotter

if TYPE_CHECKING:
    from ..source.check import RepeatCheck

NEVER = 1 << 64
"""Behind every position."""


class Stream(Protocol):
    """A running replication connection.

    Attributes:
        busy: The last poll ended because it had read enough: more is at hand.
        reply_due: The server asked for a reply; the next `acknowledge` answers.
        server_end: The furthest position the server has told of.
    """

    busy: bool
    reply_due: bool
    server_end: int

    @property
    def in_transaction(self) -> bool:
        """Whether part of a transaction is in hand."""
        ...

    def poll(self, timeout_s: float) -> list[Transaction]:
        """The transactions that have ended; empty after `timeout_s`. Raises CommitLogError."""
        ...

    def acknowledge(self, position: int, *, now: bool = False) -> None:
        """Tell the server that everything up to `position` is durable here."""
        ...

    def keep_alive(self) -> None:
        """Let the server know that we live, where something else takes long."""
        ...

    def ask(self) -> None:
        """Ask the server how far it has read; `server_end` will say it."""
        ...

    def close(self) -> None:
        """End the connection."""
        ...


class TableKeeper(Protocol):
    """Who acts on what a watch of the tables finds."""

    @property
    def default(self) -> AppSchema | None:
        """The app schema whose tables are watched."""
        ...

    def told(self) -> set[str]:
        """The entities of which the log holds rows that a snapshot brought."""
        ...

    def unread(self) -> Collection[str]:
        """Those whose snapshot has not begun."""
        ...

    def renew(self, entity: str, why: str) -> None:
        """Have the rows of an entity told anew."""
        ...

    def doubt_chunk(self) -> None:
        """Have the chunk in hand read again."""
        ...

    def flush(self) -> None:
        """Make durable what was appended."""
        ...


class TablesWatch(Protocol):
    """Watches for changes of tables that their rows' changes do not tell of."""

    def look(self) -> None:
        """Look at the tables as they are now. Raises HistoryLost."""
        ...

    def look_again(self) -> None:
        """Look where the last look came too early for what the stream had told of."""
        ...

    def met(self, relation: Relation, xid: int) -> None:
        """The stream describes a table, and by which transaction."""
        ...

    def noticed(self, notices: list[Notice], xid: int) -> None:
        """What a transaction that comes next says of tables. Raises HistoryLost."""
        ...


class Source(ABC):
    """One source, for one attempt: what is known of it, and its stream.

    Attributes:
        engine: Its name in records.
        config: The worker's, with the limits that hold for this log.
        turn_at: From which position on the source is another server or timeline, see `turn`.
        id_prefix: What commits' ids begin with; the rest is their end in hexadecimal, of a binlog their GTID, of an oplog their position.
        binlog: The name of the server's binlog, what stands before a file's number; empty where positions are LSNs, or in an oplog.
        oplog: Positions are places in an oplog.
    """

    engine: str

    def __init__(self, config: Config) -> None:
        self.config = config
        self.turn_at = NEVER
        self.id_prefix = self.binlog = ""
        self.oplog = False

    @abstractmethod
    def close(self) -> None:
        """Close all connections but the stream."""

    @abstractmethod
    def position(self, text: str) -> int:
        """Read a position as records have it."""

    @abstractmethod
    def text(self, position: int) -> str:
        """Write a position as records have it."""

    @abstractmethod
    def commit_id(self, transaction: Transaction) -> str:
        """The id of a transaction's commit."""

    @abstractmethod
    def open(self, state: LogState, registry: Registry, *, leased: bool) -> Stream:
        """Check that the source goes on from the log, and begin to read it from there, or from before.

        Args:
            state: The log's.
            registry: The app schemas.
            leased: Another worker may take over.

        Raises:
            CommitLogError: They do not fit.
        """

    @abstractmethod
    def genesis(self) -> tuple[str, dict[str, Any]]:
        """Where a new log begins, and what its first record says of the source. After `open`."""

    @abstractmethod
    def follow(self, genesis: Mapping[str, Any]) -> None:
        """Take over from the log which server, or timeline of it, what comes next was written on."""

    @abstractmethod
    def repeat_check(self, state: LogState, publishes: Callable[[Transaction], bool]) -> "RepeatCheck":
        """Compares what the stream repeats with the end of the log. After `open`."""

    def turn(self, state: LogState, chain: ChainWriter) -> bytes:
        """The line of the record that says where the source became another one, at `turn_at`; that is passed then."""
        raise ValueError(f"{self.engine} sources do not turn")

    @abstractmethod
    def check_published(self, registry: Registry, state: LogState, *, setup: str = "commitlog setup") -> None:
        """Is everything of the tables that schemas map in the stream?

        Raises:
            HistoryLost: Of one the log has records of it is not.
            Refused: Of a new one it is not.
        """

    @abstractmethod
    def project(
        self, relation: Relation, entity: Entity, *, published: Mapping[str, str], enums: Enums | None, xid: int | None
    ) -> Projection:
        """Resolve how a table's rows become changes of an entity. Raises SchemaError where they cannot.

        Args:
            relation: The table as the stream described it.
            entity: Whose rows they are.
            published: Field to class, of the fields that are recorded.
            enums: The labels of enums where the stream is; None where the rows are as the catalogs say.
            xid: The transaction that changed them; None where they are as the catalogs say.
        """

    @abstractmethod
    def item(
        self, projection: Projection, relation: Relation, key: Collection[str], awaits: Callable[[], bool]
    ) -> ShapeItem:
        """How row changes of a table become items.

        Args:
            projection: The table's.
            relation: The table.
            key: The entity's.
            awaits: Whether a snapshot is still to tell its rows.
        """

    def late_key(self, relation: Relation, key: Collection[str], xid: int) -> LateKey | None:
        """The key of an entity, where the server may have let rows of its table share it within a transaction; None where it does not."""
        return None

    @abstractmethod
    def snapshotter(self, schema: AppSchema, *, progress: dict[str, Progress], recent: deque[Mark]) -> Snapshotter:
        """What takes the snapshots that a log lacks."""

    @abstractmethod
    def watch(self, keeper: TableKeeper, *, epoch: int) -> TablesWatch:
        """What watches the tables."""

    @abstractmethod
    def look(self, vitals: Vitals) -> None:
        """Note what the source holds for us."""
