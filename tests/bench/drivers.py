"""Transactions per second of the wrapped psycopg beside the plain one, in one run on one server.

Both drivers take turns in short slices of the same loop, so that noise of the machine meets both alike. Every call counts;
each round gives one ratio, and their median is the figure. synchronous_commit is off: a disk would hide what the driver costs.

    python tests/bench/drivers.py [--rounds 7] [--seconds 1] [--case tpcb]

The last line is one line of JSON. The server is found as in the tests.
"""

import argparse
import json
import random
import secrets
import statistics
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, nullcontext
from typing import Any

import psycopg

from commitlog.cdc.servers.provision import provide_postgres
from commitlog.drivers import psycopg as wrapped
from commitlog.drivers import session

ACCOUNTS = 10_000
TELLERS = 10
BRANCHES = 1
SLICE_S = 0.02
BARS = {"tpcb": 0.90, "select": 0.95, "insert": 0.60}

Work = Callable[[Any], None]


def tpcb(conn: Any) -> None:
    """pgbench's TPC-B-like transaction: five statements and a COMMIT."""
    account, delta = random.randrange(ACCOUNTS), random.randrange(-5000, 5000)
    teller, branch = random.randrange(TELLERS), random.randrange(BRANCHES)
    with conn.transaction():
        conn.execute("UPDATE accounts SET balance = balance + %s WHERE id = %s", (delta, account))
        conn.execute("SELECT balance FROM accounts WHERE id = %s", (account,)).fetchone()
        conn.execute("UPDATE tellers SET balance = balance + %s WHERE id = %s", (delta, teller))
        conn.execute("UPDATE branches SET balance = balance + %s WHERE id = %s", (delta, branch))
        conn.execute(
            "INSERT INTO history (tid, bid, aid, delta) VALUES (%s, %s, %s, %s)", (teller, branch, account, delta)
        )


def select(conn: Any) -> None:
    """One row by its key, in autocommit."""
    conn.execute("SELECT balance FROM accounts WHERE id = %s", (random.randrange(ACCOUNTS),)).fetchone()


def insert(conn: Any) -> None:
    """One row, in autocommit."""
    conn.execute(
        "INSERT INTO history (tid, bid, aid, delta) VALUES (%s, %s, %s, %s)", (1, 1, random.randrange(ACCOUNTS), 1)
    )


CASES: dict[str, Work] = {"tpcb": tpcb, "select": select, "insert": insert}


def prepare(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        for table, rows in (("accounts", ACCOUNTS), ("tellers", TELLERS), ("branches", BRANCHES)):
            conn.execute(
                f"CREATE TABLE {table} (id int PRIMARY KEY, balance int NOT NULL, filler text) WITH (fillfactor=50)"
            )
            conn.execute(f"INSERT INTO {table} SELECT i, 0, repeat('x', 80) FROM generate_series(0, {rows - 1}) i")
        conn.execute(
            "CREATE TABLE history (id bigserial PRIMARY KEY, tid int, bid int, aid int, delta int,"
            " at timestamptz NOT NULL DEFAULT now())"
        )
        conn.execute("VACUUM ANALYZE")


def run_slice(work: Work, conn: Any, seconds: float) -> list[float]:
    """Return the seconds each call took, for about that long."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    before = time.perf_counter()
    while before < end:
        work(conn)
        after = time.perf_counter()
        times.append(after - before)
        before = after
    return times


def run_round(work: Work, plain: Any, tagged: Any, seconds: float) -> tuple[list[float], list[float]]:
    """Return the times of both drivers, which change places every slice."""
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(max(2, int(seconds / SLICE_S))):
        for which in (0, 1) if turn % 2 else (1, 0):
            conn, block = ((plain, nullcontext()), (tagged, request()))[which]
            with block:
                times[which].extend(run_slice(work, conn, SLICE_S))
    return times


def rate(times: list[float]) -> float:
    """Return calls per second."""
    return len(times) / sum(times)


def request() -> session.Binding:
    return session.bind(
        request="5b1f2c3d-7c1e-4a3b-9d2f-0123456789ab",
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        session="a-session-cookie",
    )


def run_case(url: str, name: str, *, rounds: int, seconds: float) -> dict[str, Any]:
    with ExitStack() as stack:
        plain, tagged = (
            stack.enter_context(connect(url, autocommit=True)) for connect in (psycopg.connect, wrapped.connect)
        )
        for conn in (plain, tagged):
            conn.execute("SET synchronous_commit = off")
        return compare(name, CASES[name], plain, tagged, bar=BARS[name], rounds=rounds, seconds=seconds)


def compare(
    name: str, work: Work, plain: Any, tagged: Any, *, bar: float, rounds: int, seconds: float
) -> dict[str, Any]:
    """Return what a case says, after a round that does not count."""
    run_round(work, plain, tagged, 0.5)
    return summary(name, [run_round(work, plain, tagged, seconds) for _ in range(rounds)], bar)


def summary(name: str, pairs: list[tuple[list[float], list[float]]], bar: float) -> dict[str, Any]:
    """Print what the rounds of a case say, and return it."""
    rates = [(rate(p), rate(t)) for p, t in pairs]
    ratios = sorted(t / p for p, t in rates)
    case = {
        "case": name,
        "plain_tx_s": round(statistics.median(p for p, _ in rates)),
        "wrapped_tx_s": round(statistics.median(t for _, t in rates)),
        "ratio": round(statistics.median(ratios), 3),
        "p50_us": round(statistics.median(x for _, t in pairs for x in t) * 1e6, 1),
        "plain_p50_us": round(statistics.median(x for p, _ in pairs for x in p) * 1e6, 1),
    }
    verdict = "meets" if case["ratio"] >= bar else "MISSES"
    print(
        f"{name:7} plain {case['plain_tx_s']:>7}/s p50 {case['plain_p50_us']:>7} us   wrapped {case['wrapped_tx_s']:>7}/s"
        f" p50 {case['p50_us']:>7} us   ratio {case['ratio']:.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f}),"
        f" {verdict} its bar of {bar:.2f}",
        flush=True,
    )
    return case


def options(description: str, cases: Iterable[str]) -> argparse.ArgumentParser:
    """Return what every such program is told, and have tags say as much as those of an app do."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each driver and round")
    parser.add_argument("--case", choices=cases, action="append")
    session.configure(app="shop", version="1.4.2", build="sha256:9f2b83c1", session_key="bench")
    return parser


def main() -> None:
    args = options("Transactions per second of the wrapped psycopg beside the plain one.", CASES).parse_args()
    database = f"bench_{secrets.token_hex(6)}"
    with provide_postgres() as server:
        url = server.create_database(database)
        try:
            prepare(url)
            cases = [run_case(url, name, rounds=args.rounds, seconds=args.seconds) for name in args.case or CASES]
        finally:
            server.drop_database(database)
    print(json.dumps({"bench": "drivers", "cases": cases}))


if __name__ == "__main__":
    main()
