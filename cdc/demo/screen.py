"""What the demo shows: acts, prose, commands with their output, and proofs. Plain text where there is no terminal."""

import logging
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TimeElapsedColumn
from rich.rule import Rule
from rich.text import Text

WIDTH_MAX = 100
"""Prose in longer lines is hard to read."""

WIDTH_UNSEEN = 10_000
"""Where there is no terminal, lines stay whole: what reads them wraps or searches them."""

_LABELS = {"error": "bold red", "try": "green", "note": "yellow"}


class Screen:
    """The demo's one way to speak.

    Args:
        stream: Where to.
        styled: Whether it is a terminal that wants colour.
        step: Wait for Enter before each act but the first.
    """

    def __init__(self, stream: TextIO, *, styled: bool, step: bool = False) -> None:
        self.console = Console(
            file=stream, highlight=False, markup=False, emoji=False, force_terminal=styled, no_color=not styled
        )
        self.styled = styled
        self._step = step
        self._acts = 0
        self._tick = "✓" if self.console.encoding.startswith("utf") else "ok:"

    @property
    def width(self) -> int:
        """Columns of prose and rules."""
        return min(self.console.width, WIDTH_MAX)

    def title(self, text: str) -> None:
        """The first line."""
        self._line()
        self._line(text, "bold")

    def act(self, title: str) -> None:
        """Begin an act, after a pause where the reader wants one."""
        if self._step and self._acts:
            self._pause()
        self._acts += 1
        heading = Text.assemble((f"{self._acts} ", "bold cyan"), (title, "bold"))
        self._line()
        self.console.print(Rule(heading, align="left", style="cyan dim"), width=self.width)

    def part(self, title: str) -> None:
        """Begin a part that is no act."""
        self._line()
        self.console.print(Rule(Text(title, "bold"), align="left", style="cyan dim"), width=self.width)

    def say(self, text: str) -> None:
        """A paragraph."""
        self._line()
        self._indented("", Text(text))

    def fact(self, name: str, value: str) -> None:
        """A name with its value."""
        self._indented("  " + name.ljust(12), Text(value), mark_style="dim")

    def command(self, text: str) -> None:
        """A command as a reader would type it."""
        self._line()
        self._indented("  $ ", Text(text, "bold"), mark_style="green")

    def output(self, line: str, *, error: bool = False) -> None:
        """A line of a command's output, in its own colours; or of its errors, whose label is then coloured here."""
        text = Text.from_ansi(line)
        label, colon, _ = line.partition(": ")
        if error and colon and label in _LABELS:
            text.stylize(_LABELS[label], 0, len(label))
        self._indented("    ", text, width=self.console.width)

    def code(self, *lines: str) -> None:
        """Lines ready to paste."""
        self._line()
        for line in lines:
            self.console.print(Text.assemble("    ", (line, "bold")), soft_wrap=True)

    def event(self, what: str, more: str) -> None:
        """Something that happened just now."""
        self._indented("    " + what.ljust(16), Text(more), mark_style="yellow")

    def proof(self, text: str) -> None:
        """Something that was checked just now."""
        self._indented(f"  {self._tick} ", Text(text), mark_style="bold green")

    @contextmanager
    def told_of(self, logger: str) -> Generator[None]:
        """Show what a logger is told meanwhile, on a terminal with a clock: what takes long is announced."""
        handler = _Announcer(self)
        log = logging.getLogger(logger)
        level = log.level
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        try:
            yield
        finally:
            log.removeHandler(handler)
            log.setLevel(level)
            handler.close()

    def gap(self) -> None:
        """An empty line."""
        self._line()

    def end(self, text: str) -> None:
        """The last line."""
        self._line()
        self._line(text, "bold green")

    def _indented(self, mark: str, text: Text, *, mark_style: str = "", width: int = 0) -> None:
        """Print text after a mark, and further lines below its beginning; long lines stay whole where nobody's eyes are."""
        width = max(20, (width or self.width) - len(mark)) if self.styled else WIDTH_UNSEEN
        for number, line in enumerate(text.wrap(self.console, width)):
            line.rstrip()
            start = Text(mark, mark_style) if number == 0 else Text(" " * len(mark))
            self.console.print(Text.assemble(start, line), soft_wrap=True)

    def _pause(self) -> None:
        self._line()
        self.console.print(Text("  Enter goes on", "dim"), end=" ")
        sys.stdin.readline()

    def _line(self, text: str = "", style: str = "") -> None:
        self.console.print(Text(text, style), soft_wrap=True)


class _Announcer(logging.Handler):
    def __init__(self, screen: Screen) -> None:
        super().__init__(logging.INFO)
        self._screen = screen
        columns = (SpinnerColumn(), TimeElapsedColumn())
        self._clock = Progress(*columns, console=screen.console, transient=True)

    def emit(self, record: logging.LogRecord) -> None:
        self._screen.say(f"{record.getMessage()} …")
        if self._screen.styled and not self._clock.tasks:
            self._clock.add_task("")
            self._clock.start()

    def close(self) -> None:
        self._clock.stop()
        super().close()
