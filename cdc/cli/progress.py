"""A bar on a terminal's stderr for what takes long: how far, how fast, how long still. Nothing in pipes, dumb terminals and CI."""

import os
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

WORDS_SHARE = 3
"""The words take a part of the line at most: the numbers must have room."""

INTERVAL_S = 0.1
"""How often a bar is told something: more often nobody sees."""


class Bar:
    """A bar that appears when first told something and goes without a trace.

    Args:
        unit: What is counted, in the plural.
    """

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._told_at = 0.0
        self._what = ""
        self._shown: Any = None
        self._task: Any = None
        self._wanted = wanted()

    def tell(self, what: str, done: int, total: int | None) -> None:
        """Show how far it is.

        Args:
            what: What goes on; another one begins anew.
            done: How many of the unit are done.
            total: How many there are, None where nobody knows.
        """
        now = time.monotonic()
        if not self._wanted or (what == self._what and now - self._told_at < INTERVAL_S):
            return
        self._told_at = now
        if self._shown is None:
            self._shown = _rich_bar(self._unit)
            self._shown.start()
        if what != self._what:
            self._what = what
            if self._task is not None:
                self._shown.remove_task(self._task)
            self._task = self._shown.add_task(what, total=total, completed=done)
        self._shown.update(self._task, completed=done, total=None if total is None else max(done, total))

    def hide(self) -> None:
        """Take it away; it appears again when told something."""
        if self._shown is not None:
            self._shown.stop()
        self._shown = self._task = None
        self._what = ""


@contextmanager
def bar(unit: str) -> Generator[Bar]:
    """A bar that is gone when the block ends."""
    made = Bar(unit)
    try:
        yield made
    finally:
        made.hide()


def watched(read: Callable[[], tuple[str, int, int | None] | None], unit: str) -> Callable[[], None]:
    """Show what another thread does, until the function that this gives is called.

    Args:
        read: What to tell the bar, None for nothing to show.
        unit: What is counted.
    """
    made, ended = Bar(unit), threading.Event()
    if not wanted():
        return ended.set

    def watch() -> None:
        while not ended.wait(INTERVAL_S):
            found = read()
            if found is None:
                made.hide()
            else:
                made.tell(*found)

    thread = threading.Thread(target=watch, name="progress", daemon=True)
    thread.start()

    def end() -> None:
        ended.set()
        thread.join(1)
        made.hide()

    return end


def wanted() -> bool:
    """Whether stderr is a terminal that can move its cursor, with somebody before it."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and not os.environ.get("CI")


def _rich_bar(unit: str) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
    from rich.table import Column
    from rich.text import Text

    class Count(ProgressColumn):
        """Done, all, and how fast."""

        def render(self, task: Task) -> Text:
            total = f"/{task.total:,.0f}" if task.total is not None else ""
            speed = f"  {task.speed:,.0f}/s" if task.speed else ""
            return Text(f"{task.completed:,.0f}{total} {unit}{speed}")

    console = Console(stderr=True)
    words = Column(no_wrap=True, overflow="ellipsis", max_width=console.width // WORDS_SHARE)
    return Progress(
        # Where it is narrow the bar gives way, then the words, never the numbers.
        TextColumn("{task.description}", markup=False, table_column=words),
        BarColumn(bar_width=None, table_column=Column(ratio=1)),
        Count(Column(no_wrap=True)),
        TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True, min_width=5)),
        console=console,
        transient=True,
        expand=True,
    )
