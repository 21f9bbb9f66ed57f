"""The golden vectors, read by an implementation of its own, written from schemas/README.md and sharing no code with the package."""

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

GOLDEN = Path(__file__).parents[2] / "schemas" / "golden"
LINES = (GOLDEN / "log.jsonl").read_bytes().splitlines(keepends=True)
HASHES = json.loads((GOLDEN / "hashes.json").read_text())
KINDS = {"genesis", "commit", "snapshot", "schema", "shape", "amend", "coverage", "gap", "source", "void"}


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def cut(line: bytes) -> tuple[bytes, bytes, bytes]:
    """§1: (header, body, recorded)."""
    end = line.index(b',"body":')
    closing = re.search(rb',"recorded":"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z)"\}\n$', line)
    assert closing is not None
    return line[10:end], line[end + 8 : closing.start()], closing[1]


def header_of(line: bytes) -> dict[str, Any]:
    return json.loads(cut(line)[0])


def spelled(value: Any) -> str:
    """§1: the one spelling of a value, keys as they come."""
    if value is None or value is True or value is False:
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        assert abs(value) < 2**53
        return str(value)
    if isinstance(value, str):
        short = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}
        return '"' + "".join(short.get(c) or (f"\\u{ord(c):04x}" if c < " " else c) for c in value) + '"'
    if isinstance(value, list):
        return "[" + ",".join(map(spelled, value)) + "]"
    assert isinstance(value, dict), f"{value!r} has no spelling"
    return "{" + ",".join(f"{spelled(key)}:{spelled(member)}" for key, member in value.items()) + "}"


def merkle(leaves: list[bytes]) -> bytes:
    """§4 in RFC 6962's own words: split at the largest power of two below the number of leaves."""
    if len(leaves) == 1:
        return leaves[0]
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return sha(b"\x01" + merkle(leaves[:half]) + merkle(leaves[half:]))


def leaves_of(body: dict[str, Any]) -> list[bytes]:
    """§4: the leaves of a body, whole or redacted."""
    if "redacted" in body:
        return [
            bytes.fromhex(leaf["hash"])
            if "hash" in leaf
            else sha(b"\x00" + base64.b64decode(leaf["salt"]) + spelled(leaf["item"]).encode())
            for leaf in body["leaves"]
        ]
    salt = base64.b64decode(body["salt"])
    salts = [sha(salt + i.to_bytes(4, "big"))[:16] for i in range(len(body["items"]))]
    return [sha(b"\x00" + own + spelled(item).encode()) for own, item in zip(salts, body["items"], strict=True)]


@pytest.mark.parametrize("line", LINES, ids=range(len(LINES)))
def test_header_and_body_stand_in_their_one_spelling(line: bytes) -> None:
    header, body, recorded = cut(line)

    assert header == spelled(json.loads(header)).encode()
    assert body == spelled(json.loads(body)).encode()
    assert line == b'{"header":%b,"body":%b,"recorded":"%b"}\n' % (header, body, recorded)


def test_records_form_a_chain_of_the_hashes_given() -> None:
    prev = "0" * 64
    for seq, (line, known) in enumerate(zip(LINES, HASHES, strict=True)):
        header, digest = header_of(line), sha(cut(line)[0]).hex()
        assert (header["seq"], header["prev"], digest) == (seq, prev, known["hash"])
        prev = digest


@pytest.mark.parametrize(("line", "known"), list(zip(LINES, HASHES, strict=True)), ids=range(len(LINES)))
def test_every_body_that_is_shown_has_the_leaves_and_the_root_given(line: bytes, known: dict[str, Any]) -> None:
    tree, body = header_of(line)["tree"], json.loads(cut(line)[1])
    leaves = [bytes.fromhex(leaf) for leaf in known["leaves"]]

    assert tree["root"] == known["root"] == merkle(leaves).hex()
    assert tree["count"] == len(leaves)
    if body is not None:
        assert leaves_of(body) == leaves
    if body and "items" in body:
        assert tree["bytes"] == sum(len(spelled(item).encode()) for item in body["items"])
        salt = base64.b64decode(body["salt"])
        assert known["salts"] == [sha(salt + i.to_bytes(4, "big"))[:16].hex() for i in range(len(leaves))]


def test_positions_ids_and_parts_follow_their_rules() -> None:
    headers = [header_of(line) for line in LINES]
    position, ids = headers[0]["source"]["position"], set()
    for header in headers:
        source, part = header["source"], header.get("part", {"n": 0, "last": True})
        assert source["after"] == position
        moves = header["kind"] in ("coverage", "gap", "source") or (header["kind"] == "commit" and part["last"])
        assert moves or source["position"] == position
        position = source["position"]
        if header["kind"] != "commit":
            assert header["id"] == f"{header['log']}:{header['epoch']}:{header['seq']}"
        elif part["last"]:
            assert (header["epoch"], header["id"]) not in ids
            ids.add((header["epoch"], header["id"]))


def test_schemas_and_shapes_are_what_their_hashes_say() -> None:
    for line in LINES:
        header, own = header_of(line), (json.loads(cut(line)[1]) or {}).get("items", [])[2:]
        digests = [sha(spelled(item).encode()).hex() for item in own]
        if header["kind"] == "schema":
            assert digests == [header["schema"]]
        if header["kind"] == "shape":
            assert digests == header["shapes"]


def test_pieces_joined_are_items_in_their_one_spelling() -> None:
    joined, text, next_n = [], "", 0
    for line in LINES:
        items = (json.loads(cut(line)[1]) or {}).get("items", [])
        for item in items[2:]:
            if "piece" not in item:
                assert not text
                continue
            assert len(items) == 3
            assert item["piece"]["n"] == next_n
            text, next_n = text + item["text"], next_n + 1
            if item["piece"]["last"]:
                assert text == spelled(json.loads(text))
                joined.append((header_of(line)["kind"], json.loads(text)))
                text, next_n = "", 0
    assert [(kind, item["op"], item["key"]) for kind, item in joined] == [
        ("commit", "insert", {"id": "13"}),
        ("snapshot", "row", {"id": "15"}),
    ]
    assert joined[0][1]["after"]["email"] == joined[1][1]["after"]["email"]


def test_the_vectors_show_every_kind_and_every_form_of_body() -> None:
    bodies = [json.loads(cut(line)[1]) for line in LINES]
    operations = {
        item["op"] for body in bodies if body and "items" in body for item in body["items"][2:] if "op" in item
    }

    assert {header_of(line)["kind"] for line in LINES} == KINDS | {"weather"}
    assert operations == {"insert", "update", "rekey", "delete", "truncate", "row"}
    assert [body for body in bodies if body is None]
    assert [body for body in bodies if body and "redacted" in body]
    assert [line for line in LINES if header_of(line).get("skip")]
