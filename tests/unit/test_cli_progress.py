"""The bar: on a terminal only, on stderr, its numbers whole at 80 columns, and gone at the end."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from contextlib import suppress

import pytest

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

PROGRAM = """
import sys, time
from commitlog.cdc.cli.progress import bar
with bar("records") as shown:
    for done in (100_000, 200_000, 300_000, 400_000):
        shown.tell("snapshot of an entity with a long name, 12 left", done, 600_000)
        time.sleep(0.12)
print("the end")
"""


def on_terminal(columns: int, **env: str) -> str:
    """What PROGRAM shows on a terminal so wide, before which nobody set NO_COLOR or CI."""
    reader, writer = pty.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "CI", "TERM", "COLUMNS")}
    seen: list[bytes] = []

    def read() -> None:
        with suppress(OSError):
            while data := os.read(reader, 65536):
                seen.append(data)

    thread = threading.Thread(target=read)
    thread.start()
    subprocess.run(
        [sys.executable, "-c", PROGRAM],
        stdin=writer,
        stdout=writer,
        stderr=writer,
        env={**kept, "TERM": "xterm-256color", **env},
        check=True,
        timeout=30,
    )
    os.close(writer)
    thread.join(10)
    os.close(reader)
    return b"".join(seen).decode()


@pytest.mark.parametrize("columns", [80, 120])
def test_on_a_terminal_it_shows_how_far_how_fast_and_how_long_and_fits(columns: int) -> None:
    shown = on_terminal(columns)
    lines = [line for line in re.split(r"[\r\n]+", _ESCAPES.sub("", shown)) if line.strip()]
    assert max(map(len, lines)) <= columns
    assert any(re.search(r"━.* 400,000/600,000 records  [0-9,]+/s +00:0", line) for line in lines), lines
    assert lines[-1] == "the end"
    assert "\x1b[?25h" in shown.rpartition("\x1b[?25l")[2], "the cursor is shown again"


def test_without_colour_where_nobody_wants_any() -> None:
    assert "\x1b[3" in on_terminal(80)
    assert "\x1b[3" not in on_terminal(80, NO_COLOR="1")


@pytest.mark.parametrize("env", [{"TERM": "dumb"}, {"CI": "true"}])
def test_not_on_a_terminal_that_cannot_and_not_in_ci(env: dict[str, str]) -> None:
    assert on_terminal(80, **env) == "the end\r\n"


def test_not_in_a_pipe() -> None:
    ended = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=30)
    assert (ended.stdout, ended.stderr) == ("the end\n", "")
