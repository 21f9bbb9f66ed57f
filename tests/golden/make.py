"""Makes the golden vectors of the record format: schemas/golden/log.jsonl and hashes.json.

    python tests/golden/make.py

A small complete log with every kind of record, its salts and clocks fixed so that its bytes never change. A test holds the files
to what this makes, and another checks them by an implementation of its own, written from schemas/README.md.
"""

import base64
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

from commitlog.schemas.shape import Column, Shape
from commitlog.schemas.tree import item_salt, leaf_hash, root_of_leaves

FOLDER = Path(__file__).parents[2] / "schemas" / "golden"
LOG = "00112233445566778899aabbccddeeff"
SYSTEM = "7312345678901234567"

ORDER = Shape.make(
    "Order",
    "public.orders",
    key=("id",),
    columns=(
        Column("id", "int64", "bigint", nullable=False, identity=True),
        Column("status", "enum", "public.order_status", labels=("new", "paid", "sent")),
        Column("email", "text", "text", cls="personal"),
        Column("total", "decimal", "numeric(10,2)", modifier=655366),
        Column("n", "int32", "integer"),
        Column("gift", "bool", "boolean"),
        Column("ratio", "float64", "double precision"),
        Column("at", "instant", "timestamp with time zone"),
        Column("day", "date", "date", nullable=False),
        Column("blob", "bytes", "bytea"),
        Column("doc", "json", "json"),
        Column("words", "exact", "tsvector", generated=True),
    ),
)
ITEM = Shape.make(
    "Item",
    'public."Odd ""name"""',
    key=("order", "no"),
    columns=(
        Column("order", "int64", "bigint", nullable=False),
        Column("no", "int16", "smallint", nullable=False),
        Column("title", "text", "character varying(20)", modifier=24, collation="C"),
    ),
)
APP = {
    "schema": "commitlog.app/v1",
    "app": "shop",
    "database": "main",
    "default": True,
    "license": "CC-BY-4.0",
    "entities": {"Order": {"from": "public.orders", "key": ["id"], "fields": {"id": {"class": "public"}}}},
}
BY = {
    "assurance": 1,
    "user": "alice",
    "request": "0d9f4d5e-1f2a-4b3c-8d4e-5f60718293a4",
    "session": "b1946ac92492d2347c6235b4d2611184",
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "app": "shop",
    "version": "1.4.2",
    "build": "sha256:9f2b",
}
ROW = {
    "id": "9007199254740993",
    "status": "new",
    "email": 'zoë"\\/\t\u0001\u007f\u2028😀@example.org',
    "total": "12.50",
    "n": -2147483648,
    "gift": False,
    "ratio": "NaN",
    "at": "2026-11-22T10:11:12.345678Z",
    "day": "2026-11-22",
    "blob": "AP8=",
    "doc": '{"a": [1.0, 1e2], "a": null}',
    "words": None,
}


def dumps(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


class Maker:
    """Makes records one after the other, and what is to be known of each."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.known: list[dict[str, Any]] = []
        self._epoch = 1
        self._prev, self._position = "0" * 64, "0/1500000"

    def add(self, kind: str, *own: Any, extras: dict[str, Any] | None = None, **given: Any) -> None:
        """Add a record; `given` may say by, meta, position, id, epoch, and `body`, which makes another of salt and items."""
        seq = len(self.lines)
        self._epoch = given.get("epoch", self._epoch)
        position = given.get("position", self._position)
        items = [dumps(given.get("by")), dumps(given.get("meta", {})), *map(dumps, own)]
        salt = sha256(f"golden salt {seq}".encode()).digest()
        salts = [item_salt(salt, i) for i in range(len(items))]
        leaves = [leaf_hash(own_salt, item) for own_salt, item in zip(salts, items, strict=True)]
        root = root_of_leaves(leaves).hex()
        header = {
            "v": 1,
            "log": LOG,
            "epoch": self._epoch,
            "seq": seq,
            "prev": self._prev,
            "kind": kind,
            "id": given.get("id", f"{LOG}:{self._epoch}:{seq}"),
            "time": f"2026-11-22T10:11:{seq:02}.000000Z",
            "source": {"engine": "postgresql", "position": position, "after": self._position},
            **(extras or {}),
            "tree": {"count": len(items), "bytes": sum(map(len, items)), "root": root},
        }
        data = dumps(header)
        if given.get("skip"):
            data = data[:-1] + b',"later":["kept","hashed","ignored"]}'
        body = given.get("body", whole)(salt, salts, items, leaves)
        self.lines.append(b'{"header":%b,"body":%b,"recorded":"2026-11-22T10:12:%02d.000000Z"}\n' % (data, body, seq))
        self._prev, self._position = sha256(data).hexdigest(), position
        self.known.append(
            {
                "seq": seq,
                "hash": self._prev,
                "root": root,
                "leaves": [leaf.hex() for leaf in leaves],
                "salts": [own_salt.hex() for own_salt in salts],
            }
        )

    def commit(self, lsn: int, *changes: Any, part: tuple[int, bool] | None = None, **given: Any) -> None:
        """Add a commit, or a part of one, that ends at `lsn`."""
        extras: dict[str, Any] = {"schema": sha256(dumps(APP)).hexdigest()}
        if changes[0].get("op") != "truncate":
            extras["shapes"] = [ORDER.id]
        timeline = given.pop("timeline", 1)
        if part:
            extras["part"] = {"n": part[0], "last": part[1]}
        if not part or part[1]:
            given["position"] = f"0/{lsn:X}"
        given.setdefault("meta", {"xid": 700, "schema_by": "default"})
        self.add("commit", *changes, extras=extras, id=f"pg:{SYSTEM}:{timeline}:{lsn:016X}", **given)


def whole(salt: bytes, salts: list[bytes], items: list[bytes], leaves: list[bytes]) -> bytes:
    return b'{"salt":"%b","items":[%b]}' % (base64.b64encode(salt), b",".join(items))


def redacted(salt: bytes, salts: list[bytes], items: list[bytes], leaves: list[bytes]) -> bytes:
    """Every second item is hidden, `by` among them."""
    shown = [
        b'{"salt":"%b","item":%b}' % (base64.b64encode(salts[i]), items[i])
        if i % 2
        else b'{"hash":"%b"}' % leaves[i].hex().encode()
        for i in range(len(items))
    ]
    return b'{"redacted":true,"leaves":[%b]}' % b",".join(shown)


def withheld(salt: bytes, salts: list[bytes], items: list[bytes], leaves: list[bytes]) -> bytes:
    return b"null"


def insert(key: str, **fields: Any) -> dict[str, Any]:
    return {"op": "insert", "entity": "Order", "shape": 0, "key": {"id": key}, "after": {**ROW, "id": key, **fields}}


def make() -> Maker:
    """The golden log."""
    out = Maker()
    identity = {"engine": "postgresql", "system": SYSTEM, "timeline": 1, "database": "shop"}
    out.add("genesis", {"name": "shop", "visibility": "own", **identity, "start": "0/1500000", "format": 1})
    out.add("schema", APP, extras={"schema": sha256(dumps(APP)).hexdigest()})
    shapes = [ORDER, ITEM]
    out.add("shape", *(json.loads(s.data) for s in shapes), extras={"shapes": [s.id for s in shapes]})
    out.commit(0x1500100, insert("9007199254740993"), insert("2", blob=None, gift=True), by=BY)
    update: dict[str, Any] = {"op": "update", "entity": "Order", "shape": 0, "key": {"id": "2"}}
    rekeyed = {
        **update,
        "op": "rekey",
        "newkey": {"id": "3"},
        "image": "full",
        "before": {"id": "2"},
        "after": {"id": "3"},
    }
    out.commit(
        0x1500200,
        {**update, "image": "full", "before": {"status": "new"}, "after": {"status": "paid"}},
        rekeyed,
        {
            "op": "delete",
            "entity": "Order",
            "shape": 0,
            "key": {"id": "3"},
            "before": {**ROW, "id": "3", "status": "paid"},
        },
        by={**BY, "user": "bob", "cut": True},
        meta={"xid": 701, "skipped": 2, "schema_by": "build", "tags": 2},
    )
    sent = {k: v for k, v in ROW.items() if k != "doc"}
    out.commit(
        0x1500300,
        {**update, "key": {"id": ROW["id"]}, "image": "key", "after": sent, "unsent": ["doc"]},
        meta={"xid": 702, "schema_by": "default", "tag": "malformed"},
    )
    title = {"op": "row", "entity": "Item", "shape": 0, "key": {"order": "1", "no": 1}}
    out.add(
        "snapshot",
        {**title, "after": {"order": "1", "no": 1, "title": "a"}},
        extras={"schema": sha256(dumps(APP)).hexdigest(), "shapes": [ITEM.id]},
        meta={
            "snapshot": "initial",
            "entity": "Item",
            "from": None,
            "to": ["1", 1],
            "last": False,
            "omitted": [["1", 2], ["7", 1]],
        },
    )
    out.add("coverage", position="0/1500380")
    out.commit(0x1500400, insert("4"), part=(0, False), by=BY)
    out.commit(0x1500400, insert("5"), part=(1, False), meta={"xid": 703})
    out.add("void", extras={"void": {"from": 8, "to": 9}})
    out.add("shape", json.loads(ORDER.data), extras={"shapes": [ORDER.id]})
    out.commit(0x1500400, insert("4"), part=(0, False), by=BY)
    out.commit(0x1500400, insert("5"), part=(1, False), meta={"xid": 703})
    out.commit(0x1500400, insert("6"), part=(2, True), meta={"xid": 703})
    corrected = {**BY, "assurance": 2, "user": "carol", "claims": {"user": "alice"}}
    out.add("amend", by=corrected, extras={"ref": {"seq": 3, "hash": out.known[3]["hash"]}})
    truncate = {"op": "truncate", "entities": ["Order", "Item"], "cascade": True, "restart_identity": True}
    out.commit(0x1500500, truncate, by=BY)
    out.commit(0x1500600, insert("7"), insert("8"), insert("9"), by=BY, body=redacted)
    out.commit(0x1500700, insert("10"), by=BY, body=withheld)
    where = {name: identity[name] for name in ("system", "timeline", "database")}
    lost = {"reason": "the slot was dropped", "lost_after": "0/1500700", "resumed_at": "0/1600000", **where}
    out.add("gap", lost, epoch=2, position="0/1600000")
    out.add("source", {**identity, "timeline": 2}, position="0/1600000")
    out.add("weather", {"wind": 3}, extras={"skip": True}, skip=True)
    out.commit(0x1600100, insert("11"), by=BY, timeline=2)
    add_pieces(out)
    return out


def pieces(item: dict[str, Any], *cuts: int) -> list[dict[str, Any]]:
    """An item cut at some of its characters."""
    text = dumps(item).decode()
    runs = [text[start:end] for start, end in zip((0, *cuts), (*cuts, len(text)), strict=True)]
    return [{"piece": {"n": n, "last": n == len(cuts)}, "text": run} for n, run in enumerate(runs)]


def add_pieces(out: Maker) -> None:
    """A commit with an item in pieces between two others, and a snapshot with one: cut in an escape, and beside a character of four bytes."""
    large = insert("13")
    text = dumps(large).decode()
    escape, face = text.index("\\u0001"), text.index("😀")
    own = [[insert("12")], *([piece] for piece in pieces(large, escape + 3, face, face + 1)), [insert("14")]]
    for n, changes in enumerate(own):
        more: dict[str, Any] = {"by": BY} if n == 0 else {"meta": {"xid": 704}}
        out.commit(0x1600200, *changes, part=(n, n == len(own) - 1), timeline=2, **more)
    row = {"op": "row", "entity": "Order", "shape": 0, "key": {"id": "15"}, "after": {**ROW, "id": "15"}}
    begun = {"snapshot": "second", "entity": "Order"}
    for n, piece in enumerate(pieces(row, 40)):
        out.add(
            "snapshot",
            piece,
            extras={"schema": sha256(dumps(APP)).hexdigest(), "shapes": [ORDER.id], "part": {"n": n, "last": n == 1}},
            meta={**begun, "from": None, "to": None, "last": True} if n else begun,
        )


def files() -> dict[Path, bytes]:
    """The files and their bytes."""
    out = make()
    known = ",\n".join(json.dumps(record) for record in out.known)
    return {FOLDER / "log.jsonl": b"".join(out.lines), FOLDER / "hashes.json": f"[\n{known}\n]\n".encode()}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for path, data in files().items():
        path.write_bytes(data)
