"""Long output of a command on a terminal goes through a pager, as git's does."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import IO, TextIO, cast

from .output import Output, ReaderGone

DEFAULT = "less -FRX"
"""-F: what fits on the screen is printed and the pager ends. -R: colours. -X: what was read stays on the screen."""


class _Pipe:
    """The pager's standard input, which wants colours as a terminal does."""

    def __init__(self, pipe: IO[str]) -> None:
        self._pipe = pipe

    def __getattr__(self, name: str) -> object:
        return getattr(self._pipe, name)

    def isatty(self) -> bool:
        return True


@contextmanager
def paged(*, as_json: bool = False, wanted: bool = True) -> Generator[Output]:
    """An Output through $PAGER or less; to stdout itself where that is no terminal, for JSON, or where no pager is found.

    Args:
        as_json: As for Output.
        wanted: False for output that has no end.

    Raises:
        ReaderGone: The pager was left before all was printed.
    """
    command = shlex.split(os.environ.get("PAGER") or DEFAULT)
    terminal = sys.stdout.isatty() and sys.stdin.isatty()
    if as_json or not wanted or not terminal or not command or shutil.which(command[0]) is None:
        yield Output(as_json=as_json)
        return
    process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, encoding="utf-8")
    assert process.stdin is not None
    try:
        yield Output(stream=cast(TextIO, _Pipe(process.stdin)))
        process.stdin.close()
    except BrokenPipeError as exc:
        raise ReaderGone from exc
    finally:
        _end(process)


def _end(process: "subprocess.Popen[str]") -> None:
    """Wait until the reader leaves the pager; Ctrl-C is the pager's to handle."""
    assert process.stdin is not None
    try:
        process.stdin.close()
    except BrokenPipeError:
        process.stdin = None
    while True:
        try:
            process.wait()
            return
        except KeyboardInterrupt:
            continue
