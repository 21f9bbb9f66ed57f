"""What a reader of a backlog is and what it says in the end, whichever reader it is."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from backlog import Backlog

DRAIN_TIMEOUT_S = 900.0


@dataclass(frozen=True, slots=True)
class Spent:
    """What a tree of processes used, from its start.

    Args:
        rss_mb: The sum of the peaks (VmHWM), in MB of 2^20 bytes.
        cpu_s: The processor time, in seconds.
    """

    rss_mb: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Drained:
    """One run over a backlog.

    Args:
        rows: The rows that were timed.
        seconds: From the first of them to the last, where a reader reads them.
        spent: What the reader's processes used, start and warm-up included.
    """

    rows: int
    seconds: float
    spent: Spent

    @property
    def rows_s(self) -> float:
        """Rows a second."""
        return self.rows / self.seconds


class Reader(Protocol):
    """Drains a backlog from a slot of its own, in processes of its own."""

    name: str

    def drain(self, backlog: Backlog, slot: str) -> Drained:
        """Read warm-up and backlog, then end every process that was started.

        Raises:
            RuntimeError: A process ended too early; the message holds the end of its output.
            TimeoutError: The last row did not come within DRAIN_TIMEOUT_S.
        """
        ...


def spent(pid: int) -> Spent:
    """What a process and all of its descendants have used so far, as long as they live.

    Source: proc(5), /proc/PID/status and /proc/PID/stat.
    """
    tree = [Path("/proc", str(each)) for each in _tree(pid)]
    rss_kb = sum(_high_water_mark_kb(process) for process in tree)
    # The name before the last parenthesis may hold spaces; utime and stime are fields 14 and 15.
    stats = [(process / "stat").read_text().rpartition(")")[2].split() for process in tree]
    ticks = sum(int(stat[11]) + int(stat[12]) for stat in stats)
    return Spent(rss_kb / 1024, ticks / os.sysconf("SC_CLK_TCK"))


def _tree(pid: int) -> list[int]:
    children = [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]
    return [pid, *(each for child in children for each in _tree(child))]


def _high_water_mark_kb(process: Path) -> int:
    for line in (process / "status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise RuntimeError(f"{process} has no VmHWM: it has ended")
