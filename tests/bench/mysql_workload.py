"""The rows of `workload`, in a table of MySQL or MariaDB, changed by tagged transactions of the same fifty users.

It only writes; it reads nothing back.
"""

import json
from typing import Any

import workload
from workload import COLUMNS, TABLE, Rows, request_of

from commitlog.cdc.servers.binlog import settings
from commitlog.drivers import pymysql, session

SETUP = (
    f"""CREATE TABLE {TABLE} (
        id bigint PRIMARY KEY,
        quantity int NOT NULL,
        paid boolean NOT NULL,
        amount decimal(12,2) NOT NULL,
        status varchar(20) NOT NULL,
        note text,
        placed_at datetime(6) NOT NULL,
        details json NOT NULL,
        reference char(36) CHARACTER SET ascii NOT NULL,
        weight double NOT NULL)""",
    "CREATE DATABASE IF NOT EXISTS commitlog",
    "CREATE TABLE IF NOT EXISTS commitlog.stamp (ctx varchar(4000) CHARACTER SET utf8mb4 NOT NULL) ENGINE=BLACKHOLE",
)

_INSERT = f"INSERT INTO {TABLE} ({', '.join(COLUMNS)}) VALUES "
_ROW = "(" + ", ".join(["%s"] * len(COLUMNS)) + ")"
_UPDATE = f"UPDATE {TABLE} SET status = %s, quantity = quantity + 1, paid = NOT paid WHERE id IN %s"
_DELETE = f"DELETE FROM {TABLE} WHERE id IN %s"


def write_as_client(
    url: str, client: int, transactions: int, rows_per_transaction: int, note: str | None = None
) -> int:
    """As `workload.write_as_client`, on another server."""
    session.configure(session_key="bench", on_untagged="raise", **workload.APP)
    rows = Rows(client)
    changed = 0
    with pymysql.connect(**{**settings(url), "autocommit": False}) as connection, connection.cursor() as cursor:
        for number in range(transactions):
            with request_of(client * 1_000_003 + number):
                changed += _change(cursor, *rows.next(rows_per_transaction, note), rows.status())
                connection.commit()
    return changed


def _change(cursor: Any, inserts: list[tuple[Any, ...]], updates: list[int], deletes: list[int], status: str) -> int:
    changed = 0
    if inserts:
        statement = _INSERT + ", ".join([_ROW] * len(inserts))
        changed += cursor.execute(statement, [_value(value) for row in inserts for value in row])
    if updates:
        changed += cursor.execute(_UPDATE, (status, updates))
    if deletes:
        changed += cursor.execute(_DELETE, (deletes,))
    return changed


def _value(value: Any) -> Any:
    """A value of `workload.Rows` as this server takes it."""
    match value:
        case workload.Jsonb():
            return json.dumps(value.obj)
        case workload.uuid.UUID():
            return str(value)
        case workload.datetime():
            return value.replace(tzinfo=None)
        case _:
            return value
