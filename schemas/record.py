"""Records: one line of a log, taken apart, checked and put together (README §1–§4 and §8).

Bytes in, values out; no files and no sockets here. Every malformed line is a RecordError, whatever is wrong with it.
"""

import base64
import binascii
import json
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal, NoReturn

from .errors import RecordError, UnknownFormat, VerificationFailed
from .tree import leaf_hash, root_of_leaves, tree_root

FORMAT = 1
LINE_BYTES_MAX = 64 * 1024 * 1024
GENESIS_PREV = "0" * 64

_OPEN, _BODY, _RECORDED = b'{"header":', b',"body":', b',"recorded":"'
_TAIL_BYTES = len(_RECORDED) + 27 + 2
_HEADER_TYPES: dict[str, type] = {
    "v": int, "log": str, "epoch": int, "seq": int, "prev": str, "kind": str, "id": str, "time": str,
    "source": dict, "tree": dict,
}  # fmt: skip
_KNOWN_HEADER_KEYS = frozenset({*_HEADER_TYPES, "schema", "shapes", "part", "ref", "void", "crit", "skip"})


@dataclass(frozen=True, slots=True)
class Head:
    """A log's last record: its seq (-1 for an empty log) and its hash."""

    seq: int
    hash: str

    @classmethod
    def parse(cls, text: str) -> "Head":
        """Read `SEQ:HASH`.

        Raises:
            RecordError: It is something else.
        """
        seq, colon, digest = text.partition(":")
        if not (colon and seq.isdecimal() and len(seq) < 20 and is_digest(digest)):
            raise RecordError(f"{text!r} is not a head", hint="a head is SEQ:HASH, as commitlog status prints it")
        return cls(int(seq), digest)

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"


EMPTY = Head(-1, GENESIS_PREV)


@dataclass(frozen=True, slots=True)
class Record:
    """One record, its header parsed and its body still bytes.

    Args:
        header_bytes: What the hash covers.
        body_bytes: The body as it stands.
        recorded: The writer's clock, outside every hash.
        header: The parsed header.
        hash: SHA-256 of `header_bytes`, 64 hex digits.
    """

    header_bytes: bytes
    body_bytes: bytes
    recorded: str
    header: dict[str, Any]
    hash: str

    @classmethod
    def parse(cls, line: bytes) -> "Record":
        """Take a line apart, with or without its line feed, and check its header.

        Raises:
            RecordError: The line is not a record of this format.
            UnknownFormat: Its version or a critical key is newer than this code.
        """
        header_bytes, body_bytes, recorded = split(line)
        header = _strict(header_bytes, "header")
        if not isinstance(header, dict):
            raise RecordError("the header is not an object")
        check_header(header)
        return cls(header_bytes, body_bytes, recorded, header, sha256(header_bytes).hexdigest())

    @property
    def seq(self) -> int:
        """The record's place in its log, from 0."""
        return int(self.header["seq"])

    @property
    def kind(self) -> str:
        """The record's kind, README §5."""
        return str(self.header["kind"])

    @property
    def head(self) -> Head:
        """This record as the head of the log it ends."""
        return Head(self.seq, self.hash)

    def items(self) -> list[Any]:
        """The parsed items; empty where the body is withheld or redacted.

        Raises:
            RecordError: The body is malformed.
        """
        body = _strict(self.body_bytes, f"body of record {self.seq}")
        items = body.get("items", []) if isinstance(body, dict) else []
        if not isinstance(items, list):
            raise RecordError(f"record {self.seq}: items is not a list", seq=self.seq)
        return items

    def check_tree(self) -> None:
        """Check that the body is what the header's root says, as far as it is shown.

        Raises:
            RecordError: It is not.
        """
        tree = self.header["tree"]
        if self.body_bytes == b"null":
            return
        salt, items, leaves = _body_leaves(self.body_bytes, self.seq)
        root = root_of_leaves(leaves).hex() if leaves else tree_root(salt, items)
        shown_whole = not leaves
        if root != tree["root"] or (leaves or items) == []:
            raise RecordError(f"record {self.seq}: the body is not what its root says", seq=self.seq)
        if len(leaves or items) != tree["count"] or (shown_whole and sum(map(len, items)) != tree["bytes"]):
            raise RecordError(f"record {self.seq}: the body has another count or size than its tree says", seq=self.seq)


def split(line: bytes) -> tuple[bytes, bytes, str]:
    """Cut a line into header bytes, body bytes and `recorded`, without parsing any of them."""
    if len(line) > LINE_BYTES_MAX:
        raise RecordError(f"a line of {len(line)} bytes is above the limit of {LINE_BYTES_MAX}")
    if line.endswith(b"\n"):
        line = line[:-1]
    body = line.find(_BODY)
    tail = len(line) - _TAIL_BYTES
    if not line.startswith(_OPEN) or body < 0 or body + len(_BODY) >= tail:
        raise RecordError("the line is not a record: it does not begin as one, or is cut short")
    if line[tail : tail + len(_RECORDED)] != _RECORDED or not line.endswith(b'Z"}'):
        raise RecordError("the line is not a record: it does not end in recorded")
    try:
        recorded = line[tail + len(_RECORDED) : -2].decode("ascii")
    except UnicodeDecodeError as exc:
        raise RecordError("recorded is not a time") from exc
    return line[len(_OPEN) : body], line[body + len(_BODY) : tail], recorded


def check_header(header: dict[str, Any]) -> None:
    """Check the types of a parsed header.

    Raises:
        UnknownFormat: The version or a critical key is newer.
        RecordError: A key is missing or of another type.
    """
    version = header.get("v")
    if type(version) is int and version != FORMAT:
        raise UnknownFormat(f"record has format version {version}; this is version {FORMAT}", hint="install a newer commitlog-cdc")
    for key, kind in _HEADER_TYPES.items():
        if type(header.get(key)) is not kind:
            raise RecordError(f"the header's {key} is missing or of another type")
    seq, tree, part = header["seq"], header["tree"], header.get("part")
    if seq < 0 or not is_digest(header["prev"]):
        raise RecordError("the header's seq or prev is not one", seq=seq)
    if not is_digest(tree.get("root")) or type(tree.get("count")) is not int or type(tree.get("bytes")) is not int:
        raise RecordError(f"record {seq}: the header's tree is malformed", seq=seq)
    if any(type(header["source"].get(key)) is not str for key in ("engine", "position", "after")):
        raise RecordError(f"record {seq}: the header's source is malformed", seq=seq)
    if part is not None and not (isinstance(part, dict) and type(part.get("n")) is int and type(part.get("last")) is bool):
        raise RecordError(f"record {seq}: the header's part is malformed", seq=seq)
    _check_optional(header, seq)


def _check_optional(header: dict[str, Any], seq: int) -> None:
    crit = header.get("crit", [])
    if not isinstance(crit, list):
        raise RecordError(f"record {seq}: crit is not a list", seq=seq)
    unknown = [key for key in crit if key not in _KNOWN_HEADER_KEYS]
    if unknown:
        raise UnknownFormat(f"record {seq} needs a reader that knows {unknown[0]!r}", hint="install a newer commitlog-cdc")
    shapes = header.get("shapes", [])
    if not (isinstance(shapes, list) and all(is_digest(shape) for shape in shapes)):
        raise RecordError(f"record {seq}: shapes is malformed", seq=seq)
    ref, void = header.get("ref"), header.get("void")
    if ref is not None and not (isinstance(ref, dict) and type(ref.get("seq")) is int and is_digest(ref.get("hash"))):
        raise RecordError(f"record {seq}: ref is malformed", seq=seq)
    if void is not None and not (isinstance(void, dict) and type(void.get("from")) is type(void.get("to")) is int):
        raise RecordError(f"record {seq}: void is malformed", seq=seq)


def is_digest(value: object) -> bool:
    """Whether `value` is 64 lower-case hex digits."""
    return isinstance(value, str) and len(value) == 64 and not value.strip("0123456789abcdef")


def _body_leaves(body_bytes: bytes, seq: int) -> tuple[bytes, list[bytes], list[bytes]]:
    """(salt, item bytes, []) of a body shown whole, or (b"", [], leaf hashes) of a redacted one."""
    try:
        text = body_bytes.decode()
        if text.startswith('{"salt":"'):
            end = text.index('"', 9)
            salt = base64.b64decode(text[9:end], validate=True)
            if text[end : end + 11] != '","items":[' or not text.endswith("]}"):
                raise ValueError("the body is not salt and items")
            return salt, split_items(text, end + 11), []
        body = _strict(body_bytes, f"body of record {seq}")
        if not body["redacted"]:
            raise ValueError("the body is neither whole nor redacted")
        return b"", [], [_redacted_leaf(leaf, text) for leaf in body["leaves"]]
    except RecordError:
        raise
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError, binascii.Error) as exc:
        raise RecordError(f"record {seq}: the body is malformed: {exc}", seq=seq) from exc


def _redacted_leaf(leaf: dict[str, Any], text: str) -> bytes:
    if "hash" in leaf:
        return bytes.fromhex(leaf["hash"])
    item = json.dumps(leaf["item"], ensure_ascii=False, separators=(",", ":"))
    if item not in text:
        raise ValueError("a shown item is not in the bytes the format prescribes")
    return leaf_hash(base64.b64decode(leaf["salt"], validate=True), item.encode())


def split_items(text: str, start: int) -> list[bytes]:
    """The bytes of each item of the list that opens just before `start` and closes just before the end of `text`."""
    scan = json.JSONDecoder().raw_decode
    items: list[bytes] = []
    at, last = start, len(text) - 2
    while at < last:
        if items:
            if text[at] != ",":
                raise ValueError("items are not separated by commas")
            at += 1
        _, end = scan(text, at)
        items.append(text[at:end].encode())
        at = end
    if at != last:
        raise ValueError("the items do not end where the body does")
    return items


def _refuse_number(text: str) -> NoReturn:
    raise ValueError(f"{text[:20]} is not an integer")


def _integer(text: str) -> int:
    if len(text) > 17 or abs(int(text)) > 2**53 - 1:
        raise ValueError(f"{text[:20]} is beyond 2^53-1")
    return int(text)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise ValueError("a key stands twice")
    return out


_STRICT = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=_refuse_number, parse_constant=_refuse_number, parse_int=_integer
)


def _strict(data: bytes, what: str) -> Any:
    """Parse JSON as the format allows it: no floats, no duplicate keys, integers within ±(2^53−1)."""
    try:
        return _STRICT.decode(data.decode())
    except (ValueError, RecursionError) as exc:
        raise RecordError(f"the {what} is not the JSON of this format: {exc}") from exc


Acceptance = Literal["new", "duplicate"]


class Chain:
    """The rule of acceptance (README §8), over records given in the order they stand in.

    Args:
        head: Where to begin: `EMPTY`, or a head that is trusted.

    Only hashes of the last `_REMEMBERED` records are kept: an older seq that comes again is refused as a rival.
    """

    _REMEMBERED = 4096

    def __init__(self, head: Head = EMPTY) -> None:
        self.head = head
        self._hashes: dict[int, str] = {head.seq: head.hash}

    def accept(self, record: Record) -> Acceptance:
        """Take the next record.

        Raises:
            VerificationFailed: The record does not follow the head.
        """
        seq, head = record.seq, self.head
        if seq == head.seq + 1 and record.header["prev"] == head.hash:
            self.head = Head(seq, record.hash)
            self._hashes[seq] = record.hash
            self._hashes.pop(seq - self._REMEMBERED, None)
            return "new"
        if seq <= head.seq:
            if self._hashes.get(seq) == record.hash:
                return "duplicate"
            raise VerificationFailed(f"record {seq} has a rival: another record of that seq came before", seq=seq)
        if seq == head.seq + 1:
            raise VerificationFailed(
                f"record {seq} does not follow record {head.seq}: its prev is {record.header['prev'][:12]}…,"
                f" that record's hash is {head.hash[:12]}…",
                seq=seq,
            )
        raise VerificationFailed(f"record {seq} stands after record {head.seq}: records are missing", seq=seq)
