from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")

class Collector(Generic[T]):
    def __init__(self, spill_bytes: int, transaction: Callable[..., T]) -> None: ...
    def feed(self, message: bytes, /) -> T | None: ...
    def drain(
        self, get: Callable[[int], tuple[int, memoryview | None]] | tuple[int, int, int], out: list[T], room: int, /
    ) -> tuple[int, int, bytes | None]: ...

class BinlogRows:
    def __new__(
        cls, columns: tuple[tuple[Callable[[bytes, int], tuple[bytes, int]], int, int, int, tuple[bytes, ...]], ...]
    ) -> BinlogRows: ...
    def __call__(
        self, body: bytes, at: int, opening: bytes, mark: bytes, first: bytes, second: bytes | None, /
    ) -> list[bytes] | None: ...

class Shaper:
    def __new__(
        cls,
        entity: bytes,
        columns: tuple[tuple[bytes | None, int, dict[bytes, str] | None], ...],
        key: tuple[int, ...],
        fallback: Callable[[bytes, int], bytes | None],
        paths: tuple[tuple[tuple[bytes, ...], Any], ...] | None = None,
        /,
    ) -> Shaper: ...
    def __call__(self, data: bytes, shape_index: int, /) -> bytes | None: ...

def binlog_groups(
    buffer: bytes | bytearray,
    at: int,
    room: int,
    behind: int,
    tables: dict[bytes, tuple[BinlogRows, Any, int | None, int]],
    mariadb: bool,
    spill_bytes: int,
    transaction: Callable[..., T],
    out: list[T],
    /,
) -> tuple[int, int]: ...
def oplog_entries(
    batch: bytes,
    at: int,
    collections: dict[bytes, Any],
    stamps: dict[bytes, tuple[int, int, bytes]],
    images: dict[bytes, tuple[int, Any]],
    limits: tuple[int, int, int, int],
    transaction: Callable[..., T],
    out: list[T],
    /,
) -> tuple[int, int, int]: ...
def run(
    rule: tuple[Any, ...], seq: int, hash_: str, position: str, transactions: list[Any], start: int, salts: bytes, /
) -> tuple[int, bytes, int, str, str, int, int]: ...
def seal(
    open_: str,
    seq: int,
    prev: str,
    kind: str,
    id_: str,
    time_us: int,
    engine: str,
    position: str,
    after: str,
    tail: str,
    items: list[bytes],
    salt: bytes,
    recorded: bytes,
    /,
) -> tuple[bytes, str]: ...
def plain_record(line: bytes, /) -> tuple[bytes, bytes, str, dict[str, Any], str] | None: ...
def sha256(data: bytes, /) -> bytes: ...
def choose(portable: bool, /) -> str: ...
