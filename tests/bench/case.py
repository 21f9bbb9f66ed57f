"""A case: one backlog that several readers drain in turn, and what came of it."""

import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import worker
from backlog import Backlog
from drained import Drained, Reader


@dataclass(frozen=True, slots=True)
class Case:
    """The runs over one backlog, by reader: ours, the peer's, the limit's."""

    rows_per_transaction: int
    runs: dict[str, list[Drained]]

    def rows_s(self, reader: str) -> float | None:
        """The median rate of a reader; None where it was left out."""
        runs = self.runs.get(reader)
        return statistics.median(run.rows_s for run in runs) if runs else None

    def rss_mb(self, reader: str) -> float | None:
        """The highest peak of a reader; None where it was left out."""
        runs = self.runs.get(reader)
        return max(run.spent.rss_mb for run in runs) if runs else None

    def ratio(self, reader: str) -> float | None:
        """The median of our rate over a reader's, round by round; None where one was left out."""
        ours, theirs = self.runs.get(worker.Commitlog.name), self.runs.get(reader)
        if not ours or not theirs:
            return None
        return statistics.median(mine.rows_s / other.rows_s for mine, other in zip(ours, theirs, strict=True))

    def summary(self, peer: str) -> dict[str, Any]:
        """Ours beside a peer's, as the last line of a bench has it."""
        ours = worker.Commitlog.name
        return {
            "rows_per_tx": self.rows_per_transaction,
            "rows_s": whole(self.rows_s(ours)),
            "peer": peer,
            "peer_rows_s": whole(self.rows_s(peer)),
            "ratio": short(self.ratio(peer)),
            "rss_mb": whole(self.rss_mb(ours)),
            "peer_rss_mb": whole(self.rss_mb(peer)),
        }


def summary(bench: str, cases: Sequence[Case], limit: str) -> dict[str, Any]:
    """The last line of a bench.

    Args:
        bench: Its name.
        cases: What it measured.
        limit: The reader that is the limit.
    """
    # One figure for the limit: the case in which we come least near to it.
    lowest = min(cases, key=lambda case: case.ratio(limit) or 0, default=None)
    return {
        "bench": bench,
        "cases": [case.summary("debezium") for case in cases],
        "limit": {
            "name": limit,
            "rows_s": whole(lowest.rows_s(limit)) if lowest else None,
            "ratio": short(lowest.ratio(limit)) if lowest else None,
        },
    }


def take_turns(backlog: Backlog, readers: Sequence[Reader], rounds: int, extra: Sequence[Reader]) -> Case:
    """Write a backlog, and let every reader drain it in turn; the extra ones once, at the end."""
    started = time.monotonic()
    backlog.create()
    backlog.write()
    print(
        f"\n{backlog.rows_per_transaction} row(s) per transaction: {backlog.warmup_rows:,} rows of warm-up and"
        f" {backlog.rows:,} rows, {backlog.row_bytes()} bytes each, written in {time.monotonic() - started:.0f} s"
    )
    print(f"{'round':>6}  {'reader':<24}{'seconds':>9}{'rows/s':>10}{'peak MB':>9}{'cpu s':>8}{'load':>7}")
    runs: dict[str, list[Drained]] = {}
    for number in range(1, rounds + 1):
        for reader in readers:
            runs.setdefault(reader.name, []).append(_run(reader, backlog, str(number)))
    for reader in extra:
        _run(reader, backlog, "extra")
    backlog.drop()
    return Case(backlog.rows_per_transaction, runs)


def _run(reader: Reader, backlog: Backlog, turn: str) -> Drained:
    slot = backlog.copy_slot("run")
    drained = reader.drain(backlog, slot)
    backlog.drop_slot(slot)
    print(
        f"{turn:>6}  {reader.name:<24}{drained.seconds:>9.2f}{drained.rows_s:>10,.0f}{drained.spent.rss_mb:>9.0f}"
        f"{drained.spent.cpu_s:>8.1f}{os.getloadavg()[0]:>7.1f}",
        flush=True,
    )
    return drained


def whole(value: float | None) -> int | None:
    """A figure without decimals."""
    return None if value is None else round(value)


def short(value: float | None) -> float | None:
    """A figure with two decimals."""
    return None if value is None else round(value, 2)
