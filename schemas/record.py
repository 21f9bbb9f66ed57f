"""Records: one line of a log, taken apart, checked and put together (README §1–§4 and §8).

Bytes in, values out; no files and no sockets here. Every malformed line is a RecordError, whatever is wrong with it.
"""

import base64
import json
import re
from collections.abc import Callable
from hashlib import sha256
from typing import Any, Literal, NamedTuple, NoReturn, TypeGuard

from .errors import RecordError, UnknownFormat, UsageError, VerificationFailed
from .tree import ITEM_SALT_BYTES, SALT_BYTES, leaf_hash, root_of_leaves, tree_root

FORMAT = 1
LINE_BYTES_MAX = 64 * 1024 * 1024
NESTING_MAX = 64
INTEGER_MAX = 2**53 - 1
GENESIS_PREV = "0" * 64

_VERSION = re.compile(rb'\{"header":\{"v":([0-9]{1,9}),')
_OPEN, _BODY = b'{"header":', b',"body":'
_RECORDED = re.compile(rb',"recorded":"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z)"}')
_TAIL_BYTES = len(',"recorded":"2026-11-22T10:11:12.345678Z"}')
_DIGEST, _LOG = re.compile("[0-9a-f]{64}"), re.compile("[0-9a-f]{32}")
_ONE_BRACKET, _NOT_STRUCTURE = bytes.maketrans(b"{}", b"[]"), bytes(set(range(256)) - set(b'[]{}"'))
_WHOLE, _REDACTED = ["salt", "items"], ["redacted", "leaves"]
_ITEMS_MIN = 2  # by and meta
_HEADER_TYPES: tuple[tuple[str, type], ...] = (
    ("v", int), ("log", str), ("epoch", int), ("seq", int), ("prev", str), ("kind", str), ("id", str), ("time", str),
    ("source", dict), ("tree", dict),
)  # fmt: skip

_HEX64, _TEXT, _COUNT = '"[0-9a-f]{64}"', r'"[ !#-\[\]-~]{0,200}"', "(?:0|[1-9][0-9]{0,14})"
_PLAIN = re.compile(
    rf'\{{"header":(\{{"v":{FORMAT},"log":"[0-9a-f]{{32}}","epoch":[1-9][0-9]{{0,8}},"seq":{_COUNT},"prev":{_HEX64},"kind":"[a-z]{{1,20}}",'
    rf'"id":{_TEXT},"time":{_TEXT},"source":\{{"engine":{_TEXT},"position":{_TEXT},"after":{_TEXT}\}},'
    rf'(?:"schema":{_HEX64},)?(?:"shapes":\[{_HEX64}(?:,{_HEX64})*\],)?'
    rf'"tree":\{{"count":{_COUNT},"bytes":{_COUNT},"root":{_HEX64}\}}\}}),"body":'.encode()
)
"""The header of nearly every record. What matches is in the one form and of the right types, and needs no further look."""


class Head(NamedTuple):
    """A log's last record: its seq (-1 for an empty log) and its hash."""

    seq: int
    hash: str

    @classmethod
    def parse(cls, text: str) -> "Head":
        """Read `SEQ:HASH`.

        Raises:
            UsageError: It is something else.
        """
        seq, colon, digest = text.partition(":")
        if not (colon and seq.isascii() and seq.isdecimal() and len(seq) < 20 and is_digest(digest)):
            raise UsageError(f"{text!r} is not a head", hint="a head is SEQ:HASH, as commitlog status prints it")
        return cls(int(seq), digest)

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"


EMPTY = Head(-1, GENESIS_PREV)


class Record(NamedTuple):
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
    def parse(cls, line: bytes, loads: Callable[[bytes], Any] | None = None) -> "Record":
        """Take a line apart, with or without its line feed, and check its header.

        Args:
            line: The line.
            loads: A quicker json.loads.

        Raises:
            RecordError: The line is not a record of this format.
            UnknownFormat: Its version or a critical key is newer than this code.
        """
        plain = _PLAIN.match(line)
        if plain and len(line) <= LINE_BYTES_MAX:
            header_bytes = plain[1]
            body_bytes, recorded = _body_and_recorded(line.removesuffix(b"\n"), plain.end())
            header: Any = (loads or json.loads)(header_bytes)
        else:
            header_bytes, body_bytes, recorded = split(line)
            header = _checked_header(header_bytes)
        return cls(header_bytes, body_bytes, recorded, header, sha256(header_bytes).hexdigest())

    @property
    def seq(self) -> int:
        """The record's place in its log, from 0."""
        seq: int = self.header["seq"]
        return seq

    @property
    def kind(self) -> str:
        """The record's kind, README §5."""
        kind: str = self.header["kind"]
        return kind

    @property
    def head(self) -> Head:
        """This record as the head of the log it ends."""
        return Head(self.seq, self.hash)

    @property
    def unfinished(self) -> tuple[int, int] | None:
        """(from, to), the seqs of the parts that this record leaves without their last; None where it leaves none."""
        part = self.header.get("part")
        return (self.seq - part["n"], self.seq) if part and not part["last"] else None

    def check_follows(self, head: Head) -> None:
        """Check that this record is the next after `head`; raises VerificationFailed where it is not."""
        seq, prev = self.seq, self.header["prev"]
        if seq != head.seq + 1:
            raise VerificationFailed(f"record {seq} stands after record {head.seq}: records are missing", seq=seq)
        if prev != head.hash:
            raise VerificationFailed(
                f"record {seq} does not follow record {head.seq}: its prev is {prev[:12]}…,"
                f" that record's hash is {head.hash[:12]}…",
                seq=seq,
            )

    def items(self) -> list[Any]:
        """The parsed items; empty where the body is withheld or redacted.

        Raises:
            RecordError: The body is malformed.
        """
        body = self._body()
        return body["items"] if body and "items" in body else []

    def check_tree(self) -> None:
        """Check that the body is what the header's root says, as far as it is shown.

        Raises:
            RecordError: It is not.
        """
        body, tree = self._body(), self.header["tree"]
        if body is None:
            return
        try:
            if "items" in body:
                items = [_encode(item).encode() for item in body["items"]]
                count, size = len(items), sum(map(len, items))
                root = tree_root(_exact(body["salt"], SALT_BYTES), items)
            else:
                count, size = len(body["leaves"]), tree["bytes"]
                root = root_of_leaves([_leaf(leaf) for leaf in body["leaves"]]).hex()
        except ValueError as exc:
            raise RecordError(f"record {self.seq}: the body is malformed: {exc}", seq=self.seq) from exc
        if (root, count, size) != (tree["root"], tree["count"], tree["bytes"]):
            raise RecordError(f"record {self.seq}: the body is not what its header's tree says", seq=self.seq)

    def _body(self) -> dict[str, Any] | None:
        """The parsed body, whole or redacted; None where it is withheld."""
        try:
            body = parse_json(self.body_bytes)
        except ValueError as exc:
            raise RecordError(
                f"record {self.seq}: the body is not the JSON of this format: {exc}", seq=self.seq
            ) from exc
        if body is None:
            return None
        if is_object(body) and (list(body) == _WHOLE or (list(body) == _REDACTED and body["redacted"] is True)):
            leaves = body.get("items", body.get("leaves"))
            if _is_list(leaves) and len(leaves) >= _ITEMS_MIN:
                return body
        raise RecordError(f"record {self.seq}: the body is neither whole, redacted nor withheld", seq=self.seq)


def split(line: bytes) -> tuple[bytes, bytes, str]:
    """Cut a line into header bytes, body bytes and `recorded`, without parsing the first two.

    Raises:
        RecordError: The line is not a record.
        UnknownFormat: It is of another version.
    """
    version = _VERSION.match(line)
    if version and int(version[1]) != FORMAT:
        raise UnknownFormat(
            f"a record has format version {int(version[1])}; this is version {FORMAT}",
            hint="install a newer commitlog-cdc",
        )
    if len(line) > LINE_BYTES_MAX:
        raise RecordError(f"a line of {len(line)} bytes is above the limit of {LINE_BYTES_MAX}")
    if line.endswith(b"\n"):
        line = line[:-1]
    body = line.find(_BODY)
    tail = len(line) - _TAIL_BYTES
    if not line.startswith(_OPEN) or body < 0 or body + len(_BODY) >= tail:
        raise RecordError("the line is not a record: it does not begin as one, or is cut short")
    return line[len(_OPEN) : body], *_body_and_recorded(line, body + len(_BODY))


def _body_and_recorded(line: bytes, body: int) -> tuple[bytes, str]:
    """What stands from `body` on, in a line without its line feed."""
    tail = len(line) - _TAIL_BYTES
    recorded = _RECORDED.fullmatch(line, tail)
    if not recorded or body >= tail:
        raise RecordError("the line is not a record: it does not end in recorded")
    return line[body:tail], recorded[1].decode()


def _checked_header(data: bytes) -> dict[str, Any]:
    try:
        header = parse_json(data)
    except ValueError as exc:
        raise RecordError(f"the header is not the JSON of this format: {exc}") from exc
    if not is_object(header):
        raise RecordError("the header is not an object")
    check_header(header)
    return header


def check_header(header: dict[str, Any]) -> None:
    """Check the types of a parsed header.

    Raises:
        UnknownFormat: A critical key is newer.
        RecordError: A key is missing or of another type.
    """
    for key, kind in _HEADER_TYPES:
        if type(header.get(key)) is not kind:
            raise RecordError(f"the header's {key} is missing or of another type")
    seq, tree, source = header["seq"], header["tree"], header["source"]
    if (
        header["v"] != FORMAT
        or seq < 0
        or header["epoch"] < 1
        or not _LOG.fullmatch(header["log"])
        or not is_digest(header["prev"])
    ):
        raise RecordError("the header's v, log, epoch, seq or prev is not one")
    if not is_digest(tree.get("root")) or not type(tree.get("count")) is type(tree.get("bytes")) is int:
        raise RecordError(f"record {seq}: the header's tree is malformed", seq=seq)
    if not type(source.get("engine")) is type(source.get("position")) is type(source.get("after")) is str:
        raise RecordError(f"record {seq}: the header's source is malformed", seq=seq)
    for key, value in header.items():
        if key in _OPTIONAL and not _OPTIONAL[key](value):
            raise RecordError(f"record {seq}: the header's {key} is malformed", seq=seq)
    for key in header.get("crit", ()):
        if key not in _KNOWN_HEADER_KEYS:
            raise UnknownFormat(
                f"record {seq} needs a reader that knows {key[:64]!r}", hint="install a newer commitlog-cdc"
            )


def is_digest(value: object) -> bool:
    """Whether `value` is 64 lower-case hex digits."""
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    """Whether a JSON value is an object."""
    return isinstance(value, dict)


def _is_list(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def _holds(value: Any, **types: type) -> TypeGuard[dict[str, Any]]:
    """Whether `value` is an object whose members of these names are of these types."""
    return is_object(value) and all(type(value.get(key)) is kind for key, kind in types.items())


_OPTIONAL: dict[str, Callable[[Any], bool]] = {
    "schema": is_digest,
    "shapes": lambda value: _is_list(value) and all(map(is_digest, value)),
    "part": lambda value: _holds(value, n=int, last=bool) and value["n"] >= 0,
    "ref": lambda value: _holds(value, seq=int) and is_digest(value.get("hash")),
    "void": lambda value: _holds(value, **{"from": int, "to": int}),
    "crit": lambda value: _is_list(value) and all(type(key) is str for key in value),
    "skip": lambda value: isinstance(value, bool),
}
_KNOWN_HEADER_KEYS = frozenset({*(key for key, _ in _HEADER_TYPES), *_OPTIONAL})


def _exact(text: object, size: int) -> bytes:
    """The `size` bytes that base64 `text` stands for, refusing every other spelling of them."""
    data = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    if len(data) != size or base64.b64encode(data).decode() != text:
        raise ValueError(f"a salt is not the base64 of {size} bytes")
    return data


def _leaf(leaf: Any) -> bytes:
    """The hash of one leaf of a redacted body."""
    if is_object(leaf) and list(leaf) == ["hash"] and is_digest(leaf["hash"]):
        return bytes.fromhex(leaf["hash"])
    if is_object(leaf) and list(leaf) == ["salt", "item"]:
        return leaf_hash(_exact(leaf["salt"], ITEM_SALT_BYTES), _encode(leaf["item"]).encode())
    raise ValueError("a leaf is neither hidden nor shown")


def parse_json(data: bytes) -> Any:
    """Parse JSON that stands in the one form of README §1, and refuse every other.

    Writing the value again must give the same bytes: that finds white space, keys that stand twice, escapes that are
    not needed and lone surrogates at once.

    Raises:
        ValueError: The bytes are something else.
    """
    if not is_shallow(data):
        raise ValueError(f"its brackets do not close within {NESTING_MAX} levels")
    text = data.decode()
    try:
        value = _DECODER.decode(text)
        again = _encode(value)
    except RecursionError as exc:
        raise ValueError("it is nested too deep") from exc
    if again != text:
        raise ValueError("it has white space, a key twice, or an escape that is not needed")
    return value


def is_shallow(data: bytes) -> bool:
    """Whether JSON is nested at most `NESTING_MAX` deep; found without parsing it. False where brackets do not match."""
    if data.count(b"[") + data.count(b"{") <= NESTING_MAX:
        return True
    # Escapes go first, so that every quote that is left begins or ends a string, and every second piece is outside of one.
    quoted = data.replace(b"\\\\", b"").replace(b'\\"', b"").translate(_ONE_BRACKET, _NOT_STRUCTURE)
    brackets = b"".join(quoted.split(b'"')[::2])
    for _ in range(NESTING_MAX):
        brackets = brackets.replace(b"[]", b"")
        if not brackets:
            return True
    return False


def _refuse_number(text: str) -> NoReturn:
    raise ValueError(f"{text[:20]} is not an integer")


def _integer(text: str) -> int:
    if len(text) > 17 or abs(value := int(text)) > INTEGER_MAX:
        raise ValueError(f"{text[:20]} is beyond 2^53-1")
    return value


_DECODER = json.JSONDecoder(parse_float=_refuse_number, parse_constant=_refuse_number, parse_int=_integer)
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode


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
        if seq <= head.seq:
            if self._hashes.get(seq) == record.hash:
                return "duplicate"
            raise VerificationFailed(f"record {seq} has a rival: another record of that seq came before", seq=seq)
        record.check_follows(head)
        self.head = record.head
        self._hashes[seq] = record.hash
        self._hashes.pop(seq - self._REMEMBERED, None)
        return "new"
