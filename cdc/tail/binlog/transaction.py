"""What the binlog's tail hands on: a transaction with its GTID, and the statements that it carries as text."""

from dataclasses import dataclass

from ..transaction import Mark, Transaction


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement that the server logged as text: DDL, account management, maintenance.

    Args:
        database: The default database it ran in; empty for none.
        text: The statement.
    """

    database: str
    text: str


@dataclass(slots=True)
class BinlogTransaction(Transaction):
    """One group of the binlog: a committed transaction, or a group that changes no row of a table.

    Args:
        gtid: `UUID[:TAG]:NUMBER` of MySQL, `DOMAIN-SERVER-NUMBER` of MariaDB.
        statements: The group's statements, in order.
    """

    gtid: str = ""
    statements: tuple[Statement, ...] = ()

    @property
    def mark(self) -> Mark:
        """What a snapshot knows it by: its GTID, and where it ends."""
        return self.gtid, self.end
