"""What a value of each type costs to decode: from an Insert message of the stream to the JSON of a commit's item.

A server writes one row of twenty columns of each type and decodes it itself, so the messages are real. The worker's own way from a
message to an item is then timed, compiled and in Python; a row without those columns is taken off, and the rest shared by
twenty. The best of a few rounds counts: the machine only ever adds.

    python tests/bench/types.py [--rounds 5] [--seconds 0.05]

The last line is one line of JSON. The server is found as in the tests.
"""

import argparse
import json
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg

from commitlog.cdc import native
from commitlog.cdc.servers.provision import provide_postgres
from commitlog.cdc.tail.assembler import Assembler
from commitlog.cdc.tail.catalog import Catalog
from commitlog.cdc.tail.connection import SESSION_SETTINGS
from commitlog.cdc.tail.items import ShapeItem, shape_item
from commitlog.cdc.tail.shapes import project
from commitlog.cdc.tail.transaction import Relation
from commitlog.transforms.app_schema import Entity, Field

COLUMNS = 20
NOTHING = "none"
"""The table without columns of any type."""

VALUES = {
    "boolean": "true",
    "smallint": "-32768",
    "integer": "123456789",
    "bigint": "'1234567890123456789'",
    "numeric": "'1234567.890123'",
    "real": "'0.1'",
    "double precision": "'0.30000000000000004'",
    "money": "'1234.50'",
    "text": "'a text of thirty-two characters.'",
    "varchar(32)": "'größer, 日本'",
    "char(8)": "'ab'",
    "bytea": r"'\x00112233445566778899aabbccddeeff'",
    "date": "'2026-11-22'",
    "time": "'10:11:12.345678'",
    "timetz": "'10:11:12.345678+05:30'",
    "timestamp": "'2026-11-22 10:11:12.345678'",
    "timestamptz": "'2026-11-22 10:11:12.345678+00'",
    "interval": "'1 year 2 mons -3 days 04:05:06.789'",
    "uuid": "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'",
    "json": """'{"a": [1, 2.50, "b"], "c": {"d": null}}'""",
    "jsonb": """'{"a": [1, 2.50, "b"], "c": {"d": null}}'""",
    "mood": "'happy'",
    "amount": "'12.50'",
    "pair": "'(1,\"a b\")'",
    "integer[]": "'{1,2,NULL,4}'",
    "text[]": "'{a,NULL,\"b c\"}'",
    "int4range": "'[1,100)'",
    "tstzmultirange": "'{[2026-01-01,2026-02-01),[2026-03-01,)}'",
    "inet": "'10.1.2.3/8'",
    "macaddr": "'08:00:2b:01:02:03'",
    "bit varying": "'101010101010'",
    "point": "'(1.5,-2.25)'",
    "polygon": "'((1,2),(3,4),(5,6))'",
    "tsvector": "'''a'':1A ''fat'':2'",
    "pg_lsn": "'16/B374D848'",
    "xid8": "'18446744073709551615'",
}

DDL = (
    "CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy')",
    "CREATE DOMAIN amount AS numeric(10,2)",
    "CREATE TYPE pair AS (a int, b text)",
)


def rows(url: str, name: str) -> Iterator[tuple[str, Relation, bytes]]:
    """(type, table, Insert message) of each type, as the server decodes them."""
    types = [NOTHING, *VALUES]
    with psycopg.connect(url, autocommit=True, options=SESSION_SETTINGS.replace("pg_catalog", "public")) as connection:
        for statement in DDL:
            connection.execute(statement.encode())
        for number, kind in enumerate(types):
            columns = "".join(f", c{n} {kind}" for n in range(COLUMNS if kind in VALUES else 0))
            connection.execute(f"CREATE TABLE t{number} (id int PRIMARY KEY{columns})".encode())
        connection.execute(f"CREATE PUBLICATION {name} FOR ALL TABLES".encode())
        connection.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (name,))
        for number, kind in enumerate(types):
            values = ["1", *([VALUES[kind]] * COLUMNS if kind in VALUES else [])]
            connection.execute(f"INSERT INTO t{number} VALUES ({', '.join(values)})".encode())
        messages = connection.execute(
            "SELECT data FROM pg_logical_slot_get_binary_changes(%s, NULL, NULL, 'proto_version', '1', 'publication_names', %s)",
            (name, name),
        ).fetchall()
    assembler = Assembler(1 << 30)
    for (message,) in messages:
        transaction = assembler.feed(b"w" + bytes(24) + message)
        for relation, data in transaction.changes if transaction else ():
            assert isinstance(relation, Relation)
            yield types[int(relation.name[1:])], relation, data


def maker(relation: Relation, catalog: Catalog, *, compiled: bool) -> ShapeItem:
    """The worker's way from a message of this table to an item."""
    fields = {column.name: "public" for column in relation.columns}
    entity = Entity("Row", relation.table, ("id",), "", {f: Field(f, cls, "") for f, cls in fields.items()})
    return shape_item(project(relation, entity, published=fields, catalog=catalog), compiled=compiled)


def cost_us(item: ShapeItem, data: bytes, *, rounds: int, seconds: float) -> float:
    """Microseconds for one row."""
    return min(_round(lambda: item(data, 0), seconds) for _ in range(rounds)) * 1e6


def _round(call: Callable[[], object], seconds: float) -> float:
    count, began, end = 0, time.perf_counter(), 0.0
    while end - began < seconds:
        for _ in range(100):
            call()
        count += 100
        end = time.perf_counter()
    return (end - began) / count


def measure(url: str, name: str, *, rounds: int, seconds: float) -> list[dict[str, Any]]:
    catalog = Catalog(url)
    found = {kind: (relation, data) for kind, relation, data in rows(url, name)}
    assert found.keys() == {NOTHING, *VALUES}
    ways = {"compiled": True, "python": False} if native.COMPILED else {"python": False}
    cases: list[dict[str, Any]] = []
    print(f"{'type':18}" + "".join(f"{way:>12}" for way in ways) + "   µs a value")
    try:
        for kind, (relation, data) in found.items():
            case: dict[str, Any] = {"type": kind}
            for way, compiled in ways.items():
                row = cost_us(maker(relation, catalog, compiled=compiled), data, rounds=rounds, seconds=seconds)
                case[f"{way}_row_us"] = round(row, 3)
                if cases:
                    case[f"{way}_us"] = round((row - cases[0][f"{way}_row_us"]) / COLUMNS, 4)
            cases.append(case)
            if kind != NOTHING:
                print(f"{kind:18}" + "".join(f"{case[f'{way}_us']:>12.3f}" for way in ways), flush=True)
    finally:
        catalog.close()
    return cases


def main() -> None:
    parser = argparse.ArgumentParser(description="What a value of each type costs to decode.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.05, help="of each round")
    args = parser.parse_args()
    name = f"bench_{secrets.token_hex(6)}"
    with provide_postgres() as server:
        url = server.create_database(name)
        try:
            cases = measure(url, name, rounds=args.rounds, seconds=args.seconds)
        finally:
            server.drop_database(name)
    print(json.dumps({"bench": "types", "columns": COLUMNS, "cases": cases}))


if __name__ == "__main__":
    main()
