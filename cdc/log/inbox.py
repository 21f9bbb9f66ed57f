"""Requests of commands to the one writer of a log, and its answers, as files (schemas/README.md §9).

A command that finds the log locked hands its request over here and waits. A request that was answered was done; one whose
writer died in between may be done twice, so what a request asks for must be the same when it is done again.
"""

import base64
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...schemas import errors
from ...schemas.errors import CommitLogError, Refused, Unreachable, UsageError
from ...schemas.record import is_object
from .location import Location

REQUEST_BYTES_MAX = 16 * 1024 * 1024
_ANSWER_POLL_S = 0.02
_LOOK_EVERY_S = 0.2
_STALE_AFTER_S = 3600.0
"""An answer nobody fetched for an hour belongs to a command that is gone."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a command asks of the writer.

    Args:
        kind: What is asked for, `schema` for one.
        payload: Its bytes.
        path: The request's file.
    """

    kind: str
    payload: bytes
    path: Path

    def answer(self, result: dict[str, Any]) -> None:
        """Say that it is done and durable. `result` is any JSON object, `{"seq": …}` for one."""
        self._reply({"result": result})

    def refuse(self, error: CommitLogError) -> None:
        """Say why it is not done; the command raises the same error."""
        self._reply(refusal(error))

    def _reply(self, document: dict[str, Any]) -> None:
        _put(self.path.with_suffix(".answer"), json.dumps(document).encode())
        self.path.unlink(missing_ok=True)


class Inbox:
    """The writer's side of a log in a folder: cheap to ask often. Only the holder of the log's lock makes one.

    Args:
        location: The log.
        every_s: How often the folder is looked at, in seconds.
    """

    def __init__(self, location: Location, every_s: float = _LOOK_EVERY_S) -> None:
        self._folder = location.inbox
        self._every_s = every_s
        self._next_look = 0.0
        for path in self._folder.iterdir():
            if path.suffix != ".request" and _age_s(path) > _STALE_AFTER_S:
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Nothing is kept open."""

    def pending(self) -> list[Request]:
        """The requests that wait, oldest first; empty when the folder was looked at less than `every_s` ago.

        A file that is no request is answered as refused.
        """
        now = time.monotonic()
        if now < self._next_look:
            return []
        self._next_look = now + self._every_s
        names = sorted(name for name in os.listdir(self._folder) if name.endswith(".request"))  # noqa: PTH208 - quicker
        requests = [_read_request(self._folder / name) for name in names]
        return [request for request in requests if request]


def submit(location: Location, kind: str, payload: bytes, timeout_s: float = 10.0) -> dict[str, Any]:
    """Hand a request to the process that holds the log, and wait for its answer.

    Args:
        location: The log.
        kind: What is asked for.
        payload: Its bytes.
        timeout_s: How long to wait, in seconds.

    Returns:
        The writer's result.

    Raises:
        CommitLogError: What the writer refused with, by its own class.
        Unreachable: No answer came; the request was taken back where the message says so.
        UsageError: There is no such log, or the request is too large.
    """
    if len(payload) > REQUEST_BYTES_MAX:
        raise UsageError(f"a request of {len(payload)} bytes is above the limit of {REQUEST_BYTES_MAX}")
    if not location.inbox.is_dir():
        raise UsageError(f"there is no log {location}", hint="commitlog run creates it")
    # The name sorts by time, and no two requests share one.
    request = location.inbox / f"{time.time_ns():020}-{os.getpid()}-{os.urandom(4).hex()}.request"
    answer = request.with_suffix(".answer")
    _put(request, json.dumps({"kind": kind, "payload": base64.b64encode(payload).decode()}).encode())
    deadline = time.monotonic() + timeout_s
    while not answer.exists():
        if time.monotonic() >= deadline:
            _take_back(request, answer, location, timeout_s)
            break
        time.sleep(_ANSWER_POLL_S)
    document = json.loads(answer.read_bytes())
    answer.unlink(missing_ok=True)
    if "result" in document:
        return dict(document["result"])
    raise error_of(document)


def _take_back(request: Path, answer: Path, location: Location, timeout_s: float) -> None:
    """Withdraw a request that nobody answered in time, unless its answer came at the last moment.

    Raises:
        Unreachable: It was withdrawn, or the writer is still at it.
    """
    claimed = request.with_suffix(".withdrawn")
    try:
        request.rename(claimed)
    except FileNotFoundError:
        if answer.exists():
            return
        raise Unreachable(f"the writer of log {location} lost the request") from None
    claimed.unlink(missing_ok=True)
    raise Unreachable(
        f"the process that holds log {location} did not answer within {timeout_s:g} s",
        hint="see what it waits for (commitlog status), then run the command again: doing it twice does no harm",
    )


def refusal(error: CommitLogError) -> dict[str, Any]:
    """An answer that says why a request was not done."""
    return {"error": str(error), "hint": error.hint, "type": type(error).__name__}


def error_of(document: dict[str, Any]) -> CommitLogError:
    """The error that an answer holds."""
    kind = getattr(errors, str(document.get("type")), Refused)
    if not (isinstance(kind, type) and issubclass(kind, CommitLogError)) or kind is errors.MissingExtra:
        kind = Refused
    return kind(str(document.get("error")), hint=str(document.get("hint", "")))


def _read_request(path: Path) -> Request | None:
    """The request in a file, None where it was withdrawn or refused."""
    try:
        with path.open("rb") as file:
            data = file.read(2 * REQUEST_BYTES_MAX)
        document: Any = json.loads(data)
        if is_object(document) and isinstance(kind := document.get("kind"), str):
            return Request(kind, base64.b64decode(document["payload"], validate=True), path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as exc:
        Request("", b"", path).refuse(UsageError(f"{path} is not a request: {exc}"))
        return None
    Request("", b"", path).refuse(UsageError(f"{path} is not a request"))
    return None


def _age_s(path: Path) -> float:
    """How long ago a file was written, in seconds; 0 where it is gone, as it may be at any time."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _put(path: Path, data: bytes) -> None:
    """Write a file whole, for its owner only."""
    part = path.with_suffix(".new")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
    part.rename(path)
