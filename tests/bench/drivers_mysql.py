"""Transactions per second of the wrapped PyMySQL, and mysqlclient where it is installed, beside the plain one, in one run on one MySQL and then one MariaDB.

As `drivers.py`, whose rounds these are. The servers are as durable as can be (sync_binlog=1, innodb_flush_log_at_trx_commit=1).

    python tests/bench/drivers_mysql.py [--rounds 7] [--seconds 1] [--case tpcb] [--engine mariadb] [--driver mysqlclient]

The last line is one line of JSON.
"""

import json
import random
from contextlib import ExitStack, closing
from importlib import import_module
from importlib.util import find_spec
from typing import Any
from urllib.parse import unquote, urlsplit

from pymysql.constants import CLIENT

from commitlog.cdc.servers.binlog import BinlogServer, connect
from commitlog.cdc.servers.mariadb import MariaDbServer
from commitlog.cdc.servers.mysql import MySqlServer
from commitlog.cdc.servers.mysqld import LocalMysqld
from drivers import ACCOUNTS, BRANCHES, TELLERS, Work, compare, options

DRIVERS = {"pymysql": "pymysql", "mysqlclient": "MySQLdb"}
OPTIONS: dict[str, dict[str, Any]] = {
    "pymysql": {"ssl_disabled": True},
    "mysqlclient": {"client_flag": CLIENT.MULTI_STATEMENTS},  # as it does by itself from 2.1 on
}
BARS = {"tpcb": 0.90, "select": 0.60, "insert": 0.60}
ENGINES: dict[str, type[LocalMysqld]] = {"mysql": MySqlServer, "mariadb": MariaDbServer}


def tpcb(conn: Any) -> None:
    """pgbench's TPC-B-like transaction: five statements between BEGIN and COMMIT."""
    account, delta = random.randrange(ACCOUNTS), random.randrange(-5000, 5000)
    teller, branch = random.randrange(TELLERS), random.randrange(BRANCHES)
    conn.begin()
    with conn.cursor() as cursor:
        cursor.execute("UPDATE accounts SET balance = balance + %s WHERE id = %s", (delta, account))
        cursor.execute("SELECT balance FROM accounts WHERE id = %s", (account,))
        cursor.fetchone()
        cursor.execute("UPDATE tellers SET balance = balance + %s WHERE id = %s", (delta, teller))
        cursor.execute("UPDATE branches SET balance = balance + %s WHERE id = %s", (delta, branch))
        cursor.execute(
            "INSERT INTO history (tid, bid, aid, delta) VALUES (%s, %s, %s, %s)", (teller, branch, account, delta)
        )
    conn.commit()


def select(conn: Any) -> None:
    """One row by its key, in autocommit."""
    with conn.cursor() as cursor:
        cursor.execute("SELECT balance FROM accounts WHERE id = %s", (random.randrange(ACCOUNTS),))
        cursor.fetchone()


def insert(conn: Any) -> None:
    """One row, in autocommit."""
    with conn.cursor() as cursor:
        cursor.execute(
            "INSERT INTO history (tid, bid, aid, delta) VALUES (%s, %s, %s, %s)", (1, 1, random.randrange(ACCOUNTS), 1)
        )


CASES: dict[str, Work] = {"tpcb": tpcb, "select": select, "insert": insert}


def prepare(server: BinlogServer) -> None:
    with closing(connect(server.create_database("bench"))) as conn, conn.cursor() as cursor:
        for table, rows in (("accounts", ACCOUNTS), ("tellers", TELLERS), ("branches", BRANCHES)):
            cursor.execute(f"CREATE TABLE {table} (id INT PRIMARY KEY, balance INT NOT NULL, filler VARCHAR(80))")
            cursor.executemany(f"INSERT INTO {table} VALUES (%s, 0, REPEAT('x', 80))", [(i,) for i in range(rows)])
        cursor.execute(
            "CREATE TABLE history (id BIGINT PRIMARY KEY AUTO_INCREMENT, tid INT, bid INT, aid INT, delta INT,"
            " at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP)"
        )
        cursor.execute("CREATE DATABASE IF NOT EXISTS commitlog")
        cursor.execute(
            "CREATE TABLE IF NOT EXISTS commitlog.stamp (ctx VARCHAR(4000) CHARACTER SET utf8mb4 NOT NULL) ENGINE=BLACKHOLE"
        )


def run_case(server: BinlogServer, driver: str, name: str, *, rounds: int, seconds: float) -> dict[str, Any]:
    parts = urlsplit(server.url)
    options: dict[str, Any] = {
        "host": parts.hostname,
        "port": parts.port,
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "database": "bench",
        "autocommit": True,
        **OPTIONS[driver],
    }
    libraries = [import_module(DRIVERS[driver]), import_module(f"commitlog.drivers.{driver}")]
    with ExitStack() as stack:
        plain, tagged = (stack.enter_context(closing(library.connect(**options))) for library in libraries)
        return compare(name, CASES[name], plain, tagged, bar=BARS[name], rounds=rounds, seconds=seconds)


def main() -> None:
    parser = options("Transactions per second of the wrapped drivers beside the plain ones.", CASES)
    parser.add_argument("--engine", choices=ENGINES, action="append")
    parser.add_argument("--driver", choices=DRIVERS, action="append")
    args = parser.parse_args()
    drivers = args.driver or [name for name, library in DRIVERS.items() if find_spec(library)]
    cases: list[dict[str, Any]] = []
    for engine in args.engine or ENGINES:
        with ENGINES[engine].start() as server:
            print(f"{engine} {server.version}", flush=True)
            prepare(server)
            for driver in drivers:
                print(driver, flush=True)
                cases.extend(
                    {
                        "engine": engine,
                        "driver": driver,
                        **run_case(server, driver, name, rounds=args.rounds, seconds=args.seconds),
                    }
                    for name in args.case or CASES
                )
    print(json.dumps({"bench": "drivers", "cases": cases}))


if __name__ == "__main__":
    main()
