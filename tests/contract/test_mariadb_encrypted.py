"""A MariaDB that encrypts its binary log on disk: it is read as any other, for the server sends it in clear."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from commitlog.cdc.servers.debian import NOT_HERE
from commitlog.cdc.servers.mariadb import MariaDbServer
from fixtures.binlog_source import BinlogSource
from fixtures.elsewhere import here_or_skipped
from fixtures.mysql import MARIADB_QUICK


@pytest.fixture
def encrypted() -> Iterator[MariaDbServer]:
    """One that does so; its key lies where the server's own user may read it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "keys").write_text(f"1;{'a7' * 32}\n")
        settings = {
            **MARIADB_QUICK,
            "plugin-load-add": "file_key_management",
            "loose-file-key-management-filename": str(folder / "keys"),
            "encrypt-binlog": "ON",
        }
        with here_or_skipped(lambda: MariaDbServer.start(settings=settings), NOT_HERE) as server:
            yield server


def test_an_encrypted_binary_log_is_read_from_its_beginning_from_its_middle_and_over_its_end(
    encrypted: MariaDbServer, new_binlog_source: Callable[[str], BinlogSource]
) -> None:
    source = new_binlog_source(encrypted.create_database("shop"))
    assert source.value("SELECT @@encrypt_binlog") == 1
    source.execute("CREATE TABLE orders (id int PRIMARY KEY)", "INSERT INTO orders VALUES (1)")
    source.map("Order", "orders")
    source.setup()
    run = source.run()
    run.until_caught_up()
    source.execute("INSERT INTO orders VALUES (2)", "FLUSH BINARY LOGS", "INSERT INTO orders VALUES (3)")
    run.until_marked()
    run.kill()
    source.execute("DELETE FROM orders WHERE id = 1")
    run = source.run()
    run.until_caught_up()
    run.terminate()

    source.check()
