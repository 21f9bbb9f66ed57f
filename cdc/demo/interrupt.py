"""Ctrl-C and its kin in the demo: they end it by an exception, wait while something is half made, and never cut the clearing up."""

import signal
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def interruptible() -> Generator[None]:
    """Let SIGTERM and a closed terminal end the block as Ctrl-C does: by KeyboardInterrupt."""

    def interrupt(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = [(number, signal.signal(number, interrupt)) for number in STOPPING]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


@contextmanager
def held_back(*, forget: bool = False) -> Generator[None]:
    """Hold signals back until the block is done.

    Every fork stands in one: Python runs handlers in the middle of what it does at a fork, and loses what they raise there.

    Args:
        forget: Then drop them, for a block that ends everything anyway.

    Raises:
        KeyboardInterrupt: One came, after the block.
    """
    came: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        came.append(number)

    before = [(number, signal.signal(number, note)) for number in STOPPING]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
        if came and not forget:
            raise KeyboardInterrupt
