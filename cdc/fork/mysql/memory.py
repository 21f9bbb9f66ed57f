"""The tables in which a fork in MySQL or MariaDB remembers."""

from typing import Final

from ...failpoint import failpoint
from ..sql_memory import Database, SqlMemory

_TABLES: Final = {
    "applied": "one TINYINT NOT NULL PRIMARY KEY, format INT NOT NULL, log TEXT NOT NULL, name TEXT NOT NULL, url TEXT NOT NULL,"
    " only_entities LONGTEXT NOT NULL, epoch INT NOT NULL, seq BIGINT NOT NULL, hash VARCHAR(64) NOT NULL,"
    " token BIGINT NOT NULL, at DATETIME(6) NOT NULL",
    "shapes": "n BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, hash VARCHAR(64) NOT NULL UNIQUE, data LONGTEXT NOT NULL",
    "entities": "entity VARCHAR(700) NOT NULL PRIMARY KEY, snapshot TEXT NULL, snapshot_seq BIGINT NOT NULL,"
    " again TINYINT NOT NULL, complete TINYINT NOT NULL",
    "conflicts": "id VARCHAR(64) NOT NULL PRIMARY KEY, status VARCHAR(20) NOT NULL DEFAULT 'open', kind VARCHAR(20) NOT NULL,"
    " entity VARCHAR(700) NOT NULL, `key` LONGTEXT NOT NULL, field VARCHAR(700) NOT NULL, base LONGTEXT NULL,"
    " ours LONGTEXT NULL, theirs LONGTEXT NULL, ours_by LONGTEXT NULL, theirs_by LONGTEXT NULL, commit TEXT NOT NULL,"
    " epoch INT NOT NULL, seq BIGINT NOT NULL, error LONGTEXT NOT NULL, at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), closed_at DATETIME(6) NULL,"
    " KEY (status, entity(100), `key`(200)), KEY (commit(200))",
}
"""Name to columns. There is a fork when the position has its row, which comes last."""


class MysqlMemory(SqlMemory):
    """Tables `_commitlog_…`.

    Args:
        database: Where it is.
        collation: Of its texts.
    """

    shown = "tables _commitlog_…"
    moment = "CONCAT({}, '+00')"
    document = "{}"

    def __init__(self, database: Database, collation: str) -> None:
        super().__init__(database)
        self._collation = collation

    def is_there(self) -> bool:
        """Whether the tables are there."""
        rows = self._database.rows(
            "SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = %s",
            ("_commitlog_applied",),
        )
        return bool(rows)

    def make(self) -> None:
        """Make the tables; what is left of a fork that was begun and not made, or not dropped to the end, goes."""
        self.drop()
        for name, columns in _TABLES.items():
            self._database.execute(
                f"CREATE TABLE _commitlog.{name} ({columns}) ENGINE=InnoDB"
                f" DEFAULT CHARACTER SET utf8mb4 COLLATE {self._collation}"
            )
            failpoint("in_target_memory")

    def drop(self) -> None:
        """Drop them, all in one statement."""
        self._database.execute(f"DROP TABLE IF EXISTS {', '.join(f'_commitlog.{name}' for name in _TABLES)}")
