"""Sets of GTIDs, the numbers that MySQL and MariaDB give transactions: what a log has, what a server executed, what it purged.

MySQL's is intervals of numbers for each server and tag, `UUID:1-5:7,UUID:tag:1-3`. MariaDB's is the highest number for each domain and
server, `0-1-17,0-2-20`: within a domain numbers only grow, so what is at or below it is in it.

Source: MySQL manual, "GTID Format and Storage"; MariaDB manual, "Global Transaction ID", gtid_binlog_state.
"""

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Protocol, Self

from ...schemas.errors import DecodeError

GNO_MAX = (1 << 63) - 2

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TAG = re.compile(r"[a-z_][a-z0-9_]{0,31}")
_INTERVAL = re.compile(r"([0-9]{1,19})(?:-([0-9]{1,19}))?")
_TRIPLE = re.compile(r"([0-9]{1,10})-([0-9]{1,10})-([0-9]{1,20})")

Intervals = tuple[tuple[int, int], ...]
"""First and last numbers, each included, in order, with a gap between any two."""


class Gtids(Protocol):
    """A set of GTIDs of either flavour; only sets of one flavour go together."""

    def __bool__(self) -> bool:
        """Whether there is any in it."""
        ...

    def __contains__(self, gtid: str) -> bool:
        """Whether it has a GTID. Raises DecodeError where the text is none."""
        ...

    def __str__(self) -> str:
        """As the server writes it, on one line."""
        ...

    def add(self, gtid: str) -> None:
        """Put one GTID in. Raises DecodeError where the text is none."""
        ...

    def union(self, other: Self) -> Self:
        """What is in either."""
        ...

    def subtract(self, other: Self) -> Self:
        """What is in this one and not in the other."""
        ...


@dataclass(slots=True)
class MysqlGtids:
    """A GTID set of MySQL.

    Args:
        intervals: Server's uuid and tag (empty for none) to the numbers, none of them empty.
    """

    intervals: dict[tuple[str, str], Intervals] = field(default_factory=dict[tuple[str, str], Intervals])

    @classmethod
    def parse(cls, text: str) -> "MysqlGtids":
        """Read a set as the server writes it, with spaces, line ends and capitals wherever it allows them.

        Raises:
            DecodeError: It is none.
        """
        found: dict[tuple[str, str], list[tuple[int, int]]] = {}
        for part in "".join(text.split()).lower().split(","):
            if not part:
                continue
            uuid, *rest = part.split(":")
            if not _UUID.fullmatch(uuid) or not rest:
                raise DecodeError(f"{part[:80]!r} is no set of GTIDs such as UUID:1-5")
            tag = ""
            for piece in rest:
                interval = _INTERVAL.fullmatch(piece)
                if interval is None:
                    if not _TAG.fullmatch(piece):
                        raise DecodeError(f"{piece[:80]!r} is neither numbers nor the tag of a GTID")
                    tag = piece
                    found.setdefault((uuid, tag), [])
                    continue
                first = int(interval[1])
                last = int(interval[2] or first)
                if not 0 < first <= GNO_MAX or last > GNO_MAX:
                    raise DecodeError(f"{piece[:80]!r} are no numbers of GTIDs")
                # An interval that ends before it begins is empty, the server says.
                if first <= last:
                    found.setdefault((uuid, tag), []).append((first, last))
        return cls({key: merged for key, pieces in found.items() if (merged := _merged(pieces))})

    def __bool__(self) -> bool:
        return bool(self.intervals)

    def __contains__(self, gtid: str) -> bool:
        key, number = _mysql_gtid(gtid)
        return _holds(self.intervals.get(key, ()), number)

    def __str__(self) -> str:
        """As the server writes it, on one line."""
        texts: dict[str, list[str]] = {}
        for (uuid, tag), pieces in sorted(self.intervals.items()):
            numbers = [str(first) if first == last else f"{first}-{last}" for first, last in pieces]
            texts.setdefault(uuid, []).extend([tag, *numbers] if tag else numbers)
        return ",".join(f"{uuid}:{':'.join(pieces)}" for uuid, pieces in texts.items())

    def add(self, gtid: str) -> None:
        """Put one GTID in, such as `UUID:7` or `UUID:tag:7`.

        Raises:
            DecodeError: It is none.
        """
        key, number = _mysql_gtid(gtid)
        pieces = self.intervals.get(key, ())
        if pieces and pieces[-1][1] + 1 == number:
            # The usual way: the next of its server.
            self.intervals[key] = (*pieces[:-1], (pieces[-1][0], number))
        elif not _holds(pieces, number):
            self.intervals[key] = _merged([*pieces, (number, number)])

    def union(self, other: "MysqlGtids") -> "MysqlGtids":
        """What is in either."""
        keys = self.intervals.keys() | other.intervals.keys()
        return MysqlGtids({key: _merged([*self.intervals.get(key, ()), *other.intervals.get(key, ())]) for key in keys})

    def subtract(self, other: "MysqlGtids") -> "MysqlGtids":
        """What is in this one and not in the other."""
        left = {key: _without(pieces, other.intervals.get(key, ())) for key, pieces in self.intervals.items()}
        return MysqlGtids({key: pieces for key, pieces in left.items() if pieces})

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(last - first + 1 for pieces in self.intervals.values() for first, last in pieces)


@dataclass(slots=True)
class MariadbGtids:
    """What a MariaDB, or a log of one, has: as gtid_binlog_state says it.

    Args:
        numbers: Domain and server to the highest number of theirs.
    """

    numbers: dict[tuple[int, int], int] = field(default_factory=dict[tuple[int, int], int])

    @classmethod
    def parse(cls, text: str) -> "MariadbGtids":
        """Read a list of GTIDs as the server writes it.

        Raises:
            DecodeError: It is none.
        """
        found = cls()
        for part in "".join(text.split()).split(","):
            if part:
                found.add(part)
        return found

    def __bool__(self) -> bool:
        return bool(self.numbers)

    def __contains__(self, gtid: str) -> bool:
        key, number = _mariadb_gtid(gtid)
        return self.numbers.get(key, -1) >= number

    def __str__(self) -> str:
        """As the server writes it, domains and servers in their order."""
        return ",".join(f"{domain}-{server}-{number}" for (domain, server), number in sorted(self.numbers.items()))

    def add(self, gtid: str) -> None:
        """Put one GTID in, such as `0-1-7`.

        Raises:
            DecodeError: It is none.
        """
        key, number = _mariadb_gtid(gtid)
        self.numbers[key] = max(number, self.numbers.get(key, 0))

    def union(self, other: "MariadbGtids") -> "MariadbGtids":
        """What is in either."""
        keys = self.numbers.keys() | other.numbers.keys()
        return MariadbGtids({key: max(self.numbers.get(key, 0), other.numbers.get(key, 0)) for key in keys})

    def subtract(self, other: "MariadbGtids") -> "MariadbGtids":
        """The highest numbers of those domains and servers of which this one has more."""
        return MariadbGtids({k: number for k, number in self.numbers.items() if number > other.numbers.get(k, -1)})

    @property
    def position(self) -> str:
        """The last GTID of each domain, as gtid_binlog_pos and a replica's gtid_slave_pos have it."""
        last: dict[int, tuple[int, int]] = {}
        for (domain, server), number in self.numbers.items():
            last[domain] = max(last.get(domain, (-1, -1)), (number, server))
        return ",".join(f"{domain}-{server}-{number}" for domain, (number, server) in sorted(last.items()))


def parse_gtids(engine: str, text: str) -> Gtids:
    """Read a set of the engine's flavour. Raises DecodeError."""
    return MariadbGtids.parse(text) if engine == "mariadb" else MysqlGtids.parse(text)


def _mysql_gtid(text: str) -> tuple[tuple[str, str], int]:
    uuid, colon, rest = text.lower().partition(":")
    tag, _, number = rest.rpartition(":")
    right = _UUID.fullmatch(uuid) and (not tag or _TAG.fullmatch(tag)) and number.isascii() and number.isdecimal()
    if not colon or not right or not 0 < int(number) <= GNO_MAX:
        raise DecodeError(f"{text[:80]!r} is no GTID such as UUID:7")
    return (uuid, tag), int(number)


def _mariadb_gtid(text: str) -> tuple[tuple[int, int], int]:
    found = _TRIPLE.fullmatch(text)
    if found is None:
        raise DecodeError(f"{text[:80]!r} is no GTID such as 0-1-7")
    return (int(found[1]), int(found[2])), int(found[3])


def _holds(pieces: Intervals, number: int) -> bool:
    at = bisect_right(pieces, (number, GNO_MAX + 1)) - 1
    return at >= 0 and number <= pieces[at][1]


def _merged(pieces: list[tuple[int, int]]) -> Intervals:
    merged: list[tuple[int, int]] = []
    for first, last in sorted(pieces):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return tuple(merged)


def _without(pieces: Intervals, others: Intervals) -> Intervals:
    left: list[tuple[int, int]] = []
    for first, last in pieces:
        for low, high in others:
            if high < first or low > last:
                continue
            if low > first:
                left.append((first, low - 1))
            first = high + 1
        if first <= last:
            left.append((first, last))
    return tuple(left)
