"""Requests per second of the wrapped pymongo beside the plain one, in one run on one MongoDB.

As `drivers.py`, whose rounds these are. The server is a replica set of one member, journaled; writes have its default write
concern. Each call is a request of its own: five lone writes, or one transaction.

    python tests/bench/drivers_mongodb.py [--rounds 7] [--seconds 1] [--case lone]

The last line is one line of JSON.
"""

import json
import random
import secrets
from collections.abc import Callable
from typing import Any

import pymongo

from commitlog.cdc.servers.mongod import MongodSet
from commitlog.drivers import pymongo as wrapped
from commitlog.drivers import session
from drivers import ACCOUNTS, BRANCHES, TELLERS, compare, options

BARS = {"lone": 0.85, "transaction": 0.75}
WRITES_A_REQUEST = 5

Database = Any


def lone(database: Database) -> None:
    """Five writes outside of transactions."""
    for turn in range(WRITES_A_REQUEST):
        delta = random.randrange(-5000, 5000)
        if turn % 2:
            database.history.insert_one({"tid": 1, "bid": 1, "aid": random.randrange(ACCOUNTS), "delta": delta})
        else:
            database.accounts.update_one({"_id": random.randrange(ACCOUNTS)}, {"$inc": {"balance": delta}})


def transaction(database: Database) -> None:
    """pgbench's TPC-B-like transaction: five statements and the commit."""
    account, delta = random.randrange(ACCOUNTS), random.randrange(-5000, 5000)
    teller, branch = random.randrange(TELLERS), random.randrange(BRANCHES)

    def work(of: Any) -> None:
        database.accounts.update_one({"_id": account}, {"$inc": {"balance": delta}}, session=of)
        database.accounts.find_one({"_id": account}, session=of)
        database.tellers.update_one({"_id": teller}, {"$inc": {"balance": delta}}, session=of)
        database.branches.update_one({"_id": branch}, {"$inc": {"balance": delta}}, session=of)
        database.history.insert_one({"tid": teller, "bid": branch, "aid": account, "delta": delta}, session=of)

    with database.client.start_session() as of:
        of.with_transaction(work)


CASES: dict[str, Callable[[Database], None]] = {"lone": lone, "transaction": transaction}


def prepare(url: str) -> None:
    with pymongo.MongoClient[dict[str, Any]](url) as client:
        for name, count in (("accounts", ACCOUNTS), ("tellers", TELLERS), ("branches", BRANCHES)):
            client.bench[name].insert_many({"_id": i, "balance": 0, "filler": "x" * 80} for i in range(count))
        client.bench.create_collection("history")
        client.commitlog.create_collection("stamps")


def run_case(url: str, name: str, *, rounds: int, seconds: float) -> dict[str, Any]:
    def work(database: Database) -> None:
        with session.bind(request=secrets.token_hex(16), session="a-session-cookie"):
            CASES[name](database)

    with pymongo.MongoClient[dict[str, Any]](url) as plain, wrapped.MongoClient[dict[str, Any]](url) as tagged:
        return compare(name, work, plain.bench, tagged.bench, bar=BARS[name], rounds=rounds, seconds=seconds)


def main() -> None:
    args = options("Requests per second of the wrapped pymongo beside the plain one.", CASES).parse_args()
    with MongodSet.start() as server:
        print(f"mongodb {server.version}", flush=True)
        prepare(server.url)
        cases = [
            {"engine": "mongodb", **run_case(server.url, name, rounds=args.rounds, seconds=args.seconds)}
            for name in args.case or CASES
        ]
    print(json.dumps({"bench": "drivers", "cases": cases}))


if __name__ == "__main__":
    main()
