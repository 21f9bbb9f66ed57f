"""What mysql-replication reads of a binlog, ours reads, too: the same rows in the same order, the same values."""

from datetime import date, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from pymysqlreplication import BinLogStreamReader
from pymysqlreplication.row_event import DeleteRowsEvent, UpdateRowsEvent, WriteRowsEvent

from commitlog.cdc.servers.binlog import BinlogServer, connect
from commitlog.schemas.change import DELETE, INSERT, UPDATE
from fixtures.binlog_dump import place, row_changes

TABLE = (
    "CREATE TABLE shop (id bigint unsigned PRIMARY KEY, n int, s varchar(300) character set latin1, t text, d decimal(20,6), "
    "f double, at datetime(6), day date, y year, e enum('a', 'b'), small tinyint, b blob)"
)
STATEMENTS = (
    "INSERT INTO shop VALUES (18446744073709551615, -5, 'café', '漢😀', -12345.678901, 1.5, '2026-11-22 10:11:12.345678', "
    "'2026-11-22', 2026, 'b', -128, x'00ff'), (2, null, null, null, null, null, null, null, null, null, null, null)",
    "INSERT INTO shop (id, s) SELECT id + 10, repeat('x', 300) FROM shop WHERE id < 10",
    "UPDATE shop SET n = coalesce(n, 0) + 1, f = f / 3",
    "DELETE FROM shop WHERE id = 12",
)
OPERATIONS = {WriteRowsEvent: INSERT, UpdateRowsEvent: UPDATE, DeleteRowsEvent: DELETE}


def text(value: Any) -> bytes | None:
    """A value of theirs as ours are."""
    match value:
        case None:
            return None
        case bytes():
            return b"\\x" + value.hex().encode()
        case datetime():
            return value.isoformat(" ").encode()
        case date():
            return value.isoformat().encode()
        case float():
            return repr(value).removesuffix(".0").encode()
        case _:
            return str(value).encode()


def theirs(server: BinlogServer, file: str, offset: int, *, database: str, count: int) -> list[tuple[Any, ...]]:
    """So many row changes of a database, as the other reader finds them."""
    parts = urlsplit(server.url)
    reader: Any = BinLogStreamReader(
        connection_settings={
            "host": parts.hostname,
            "port": parts.port,
            "user": unquote(parts.username or ""),
            "password": unquote(parts.password or ""),
        },
        server_id=1_000_000_009,
        log_file=file,
        log_pos=offset,
        resume_stream=True,
        is_mariadb=server.product == "mariadb",
        only_events=list(OPERATIONS),
        only_schemas=[database],
    )
    found: list[tuple[Any, ...]] = []
    try:
        for event in reader:
            for row in event.rows:
                old = row.get("before_values", row.get("values") if isinstance(event, DeleteRowsEvent) else None)
                new = row.get("after_values", row.get("values") if isinstance(event, WriteRowsEvent) else None)
                values = [[text(value) for value in each.values()] if each else None for each in (old, new)]
                found.append((OPERATIONS[type(event)], *values))
            if len(found) >= count:
                break
    finally:
        reader.close()
    return found


@pytest.mark.full  # where its second connection fails, the other reader asks again for ever
@pytest.mark.filterwarnings("ignore:'db' is deprecated:DeprecationWarning")
@pytest.mark.timeout(60)
def test_rows_are_those_that_another_reader_finds(either_server: BinlogServer, either_database: str) -> None:
    database = either_database.rpartition("/")[2]
    file, offset = place(either_server)
    with connect(either_server.database_url(database)) as connection, connection.cursor() as cursor:
        for statement in (TABLE, *STATEMENTS):
            cursor.execute(statement)

    ours = [change for _, change in row_changes(either_server, file, offset, database=database)]
    assert len(ours) == 7
    assert ours == theirs(either_server, file, offset, database=database, count=len(ours))
