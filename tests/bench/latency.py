"""Latency at a steady load: from just before COMMIT is sent until a second process has read the record from the log."""

import json
import statistics
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import workload
from backlog import Backlog
from program import Program
from worker import HOME, Worker, follower

TRANSACTIONS_S = 300
SECONDS = 20
WARMUP_SECONDS = 5
CONNECTIONS = 4
_SLACK_S = 60.0


@dataclass(frozen=True, slots=True)
class Latency:
    """What was measured, in milliseconds, and the load that was reached."""

    count: int
    transactions_s: float
    p50_ms: float
    p99_ms: float
    max_ms: float

    def __str__(self) -> str:
        return (
            f"\nfrom COMMIT to read, {self.count:,} transactions at {self.transactions_s:.0f}/s: "
            f"p50 {self.p50_ms:.1f} ms, p99 {self.p99_ms:.1f} ms, highest {self.max_ms:.1f} ms\n"
        )

    def summary(self) -> dict[str, float]:
        """As the last line of a bench has it."""
        return {"p50": round(self.p50_ms, 2), "p99": round(self.p99_ms, 2)}


def measure(backlog: Backlog, folder: Path, seconds: int, *, home: str = HOME) -> Latency:
    """Run worker, follower and client, each its own process, on an empty backlog's database.

    Args:
        home: Where the log goes.

    Raises:
        RuntimeError: The client could not keep up the load.
    """
    slot = backlog.copy_slot("latency")
    total = TRANSACTIONS_S * (WARMUP_SECONDS + seconds)
    worker = Worker(backlog.url, slot=slot, folder=folder, home=home)
    timeout_s = WARMUP_SECONDS + seconds + _SLACK_S
    with follower(worker, "arrivals", str(total)) as follows, worker:
        with Program([sys.executable, __file__, backlog.url, str(total)], folder / "client.log") as client:
            sent: dict[str, int] = json.loads(client.line("{", timeout_s, check=worker.check))
        read: dict[str, int] = json.loads(follows.line("{", timeout_s, check=worker.check))
    backlog.drop_slot(slot)
    return _latency(sent, read)


def _latency(sent: dict[str, int], read: dict[str, int]) -> Latency:
    order = sorted(sent, key=sent.__getitem__)[TRANSACTIONS_S * WARMUP_SECONDS :]
    span_s = (sent[order[-1]] - sent[order[0]]) / 1e9
    reached = (len(order) - 1) / span_s
    if reached < 0.98 * TRANSACTIONS_S:
        raise RuntimeError(f"the client reached {reached:.0f} of {TRANSACTIONS_S} transactions/s")
    took = [(read[each] - sent[each]) / 1e6 for each in order]
    percentiles = statistics.quantiles(took, n=100, method="inclusive")
    return Latency(len(took), reached, percentiles[49], percentiles[98], max(took))


def send(url: str, total: int) -> dict[str, int]:
    """Commit `total` tagged transactions of one row, evenly in time, over several connections.

    Returns:
        The id of each row, and the monotonic nanoseconds just before its COMMIT.
    """
    sent: dict[str, int] = {}
    failed: list[BaseException] = []
    clock: list[float] = []
    connected = threading.Barrier(CONNECTIONS, action=lambda: clock.append(time.monotonic()), timeout=_SLACK_S)

    def client(index: int) -> None:
        rows = workload.Rows(index)
        try:
            with workload.connect(url) as connection:
                connected.wait()
                for number in range(index, total, CONNECTIONS):
                    time.sleep(max(0.0, clock[0] + number / TRANSACTIONS_S - time.monotonic()))
                    row = rows.row()
                    with workload.request_of(number):
                        workload.insert_one(connection, row)
                        sent[str(row[0])] = time.monotonic_ns()
                        connection.commit()
        except BaseException as error:
            failed.append(error)
            raise

    threads = [threading.Thread(target=client, args=(index,)) for index in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return sent


if __name__ == "__main__":
    print(json.dumps(send(sys.argv[1], int(sys.argv[2]))), flush=True)
