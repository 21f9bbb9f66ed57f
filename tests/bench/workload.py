"""The rows that every reader drains: a table of ten columns, changed by tagged transactions of fifty users.

It only writes; it makes no slot and reads nothing back.
"""

import multiprocessing
import random
import uuid
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg.types.json import Jsonb

from commitlog.drivers import psycopg, session

TABLE = "orders"
PUBLICATION = "bench"
SETUP = (
    f"""CREATE TABLE public.{TABLE} (
        id bigint PRIMARY KEY,
        quantity integer NOT NULL,
        paid boolean NOT NULL,
        amount numeric(12,2) NOT NULL,
        status text NOT NULL,
        note text,
        placed_at timestamptz NOT NULL,
        details jsonb NOT NULL,
        reference uuid NOT NULL,
        weight double precision NOT NULL)""",
    f"ALTER TABLE public.{TABLE} REPLICA IDENTITY FULL",
    f"CREATE PUBLICATION {PUBLICATION} FOR TABLE public.{TABLE}",
)
COLUMNS = tuple("id quantity paid amount status note placed_at details reference weight".split())

USERS = 50
CLIENTS = 4
PATTERN = "iiiiuidiui"
"""Ten changes: 70 % inserts, 20 % updates, 10 % deletes. Inserts come first, so there is always a row to change."""

APP = {"app": "shop", "version": "1.4.2", "build": "sha256:" + "9f2b" * 16}
WRITE_TIMEOUT_S = 3600.0

_INSERT = f"INSERT INTO public.{TABLE} ({', '.join(COLUMNS)}) VALUES "
_ROW = "(" + ", ".join(["%s"] * len(COLUMNS)) + ")"
_UPDATE = f"UPDATE public.{TABLE} SET status = %s, quantity = quantity + 1, paid = NOT paid WHERE id = ANY(%s)"
_DELETE = f"DELETE FROM public.{TABLE} WHERE id = ANY(%s)"

_WORDS = (
    "leave at the back door please gift wrapped ring twice fragile express paid by invoice call before delivery "
    "blue instead of green customer asked for a later slot neighbour accepts parcels second floor no elevator"
).split()
_STATES = ("new", "paid", "packed", "shipped", "delivered", "returned")
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def write(
    url: str,
    *,
    rows: int,
    rows_per_transaction: int,
    phase: int,
    marker: str,
    as_client: Callable[..., int] | None = None,
) -> None:
    """Change `rows` rows by several client processes at once; all are committed when this returns.

    Args:
        url: The database.
        rows: Inserts, updates and deletes together; a multiple of `rows_per_transaction`.
        rows_per_transaction: As it says.
        phase: Another one for each call on one table: it keeps the keys of two calls apart.
        marker: The note of a row in the very last transaction, for a reader that searches bytes.
        as_client: What a client does, as `write_as_client` does it on PostgreSQL.

    Raises:
        RuntimeError: The server changed another number of rows.
    """
    transactions = rows // rows_per_transaction - 1
    shares = [transactions // CLIENTS + (client < transactions % CLIENTS) for client in range(CLIENTS)]
    jobs = [(url, phase * 100 + client, share, rows_per_transaction) for client, share in enumerate(shares)]
    with multiprocessing.get_context("spawn").Pool(CLIENTS) as pool:
        written = sum(pool.starmap_async(as_client or write_as_client, jobs).get(WRITE_TIMEOUT_S))
    written += (as_client or write_as_client)(url, phase * 100 + CLIENTS, 1, rows_per_transaction, marker)
    if written != rows:
        raise RuntimeError(f"the server changed {written} rows, not {rows}")


def write_as_client(
    url: str, client: int, transactions: int, rows_per_transaction: int, note: str | None = None
) -> int:
    """Run tagged transactions on one connection.

    Returns:
        How many rows the server says were changed.
    """
    rows = Rows(client)
    changed = 0
    # The server's fsync stays on; only who writes a backlog does not wait for it.
    with connect(url, options="-c synchronous_commit=off") as connection:
        for number in range(transactions):
            with request_of(client * 1_000_003 + number):
                changed += _change(connection, *rows.next(rows_per_transaction, note), rows.status())
                connection.commit()
    return changed


def connect(url: str, options: str = "") -> psycopg.Connection[Any]:
    """A connection of the app, with server settings as `-c NAME=VALUE`; every transaction is tagged, or fails."""
    session.configure(session_key="bench", on_untagged="raise", **APP)
    return psycopg.connect(url, options=options)


def request_of(number: int) -> session.Binding:
    """A request of one of the fifty users, to be bound as the middleware would."""
    trace = uuid.UUID(int=random.Random(number).getrandbits(128), version=4)
    return session.bind(
        request=str(trace),
        traceparent=f"00-{trace.hex}-{trace.hex[:16]}-01",
        session=f"session-{number % USERS}",
        user=f"user-{number % USERS:02}",
    )


def _change(
    connection: psycopg.Connection[Any],
    inserts: list[tuple[Any, ...]],
    updates: list[int],
    deletes: list[int],
    status: str,
) -> int:
    changed = 0
    if inserts:
        statement = _INSERT + ", ".join([_ROW] * len(inserts))
        changed += connection.execute(statement, [value for row in inserts for value in row]).rowcount
    if updates:
        changed += connection.execute(_UPDATE, (status, updates)).rowcount
    if deletes:
        changed += connection.execute(_DELETE, (deletes,)).rowcount
    return changed


class Rows:
    """The rows of one client: the new ones, and which of its own it changes and deletes. The same on every run."""

    def __init__(self, client: int) -> None:
        self._random = random.Random(client)
        self._id = client * 10**9
        self._alive: deque[int] = deque()
        self._changes = 0

    def next(self, count: int, note: str | None = None) -> tuple[list[tuple[Any, ...]], list[int], list[int]]:
        """The rows to insert, the ids to update and the ids to delete in the next transaction of `count` changes."""
        inserts: list[tuple[Any, ...]] = []
        updates: list[int] = []
        deletes: list[int] = []
        for _ in range(count):
            change = PATTERN[self._changes % len(PATTERN)]
            self._changes += 1
            if change == "i":
                inserts.append(self.row(note))
            elif change == "u":
                updates.append(self._alive[0])
                self._alive.rotate(-1)
            else:
                deletes.append(self._alive.popleft())
        return inserts, updates, deletes

    def row(self, note: str | None = None) -> tuple[Any, ...]:
        """A new row, about 250 bytes as text."""
        draw = self._random
        self._id += 1
        self._alive.append(self._id)
        return (
            self._id,
            draw.randrange(1, 100),
            draw.random() < 0.5,
            f"{draw.randrange(100, 100_000_00) / 100:.2f}",
            self.status(),
            note or " ".join(draw.choices(_WORDS, k=9)),
            _EPOCH + timedelta(microseconds=draw.randrange(10**13)),
            Jsonb({"channel": "web", "coupon": draw.randrange(10**6), "tags": draw.sample(_WORDS, 3)}),
            uuid.UUID(int=draw.getrandbits(128), version=4),
            draw.uniform(0.1, 30.0),
        )

    def status(self) -> str:
        """One of the states of an order."""
        return self._random.choice(_STATES)


def insert_one(connection: psycopg.Connection[Any], row: tuple[Any, ...]) -> None:
    """Insert one row in the open transaction."""
    connection.execute(_INSERT + _ROW, row)
