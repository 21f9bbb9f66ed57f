"""`commitlog fork`: a copy of what a log publishes in a database of one's own, kept up to date, and told apart where it differs."""

import logging
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from types import FrameType
from typing import TYPE_CHECKING

import click

from ..database_url import shown
from ..log.home import LogReader, open_reader, parse_location
from ..log.location import Location
from ..telemetry.logging_setup import configure_logging
from .commands import Group
from .options import ask, into_option, json_option
from .output import Output
from .progress import Bar, wanted

if TYPE_CHECKING:
    from ..fork.comparison import Comparison
    from ..fork.follow import Progress
    from ..fork.status import Status

PROGRESS_S = 1.0


class _ForkGroup(Group):
    """`commitlog fork LOG …` is `commitlog fork follow LOG …`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        known = {*self.commands, *ctx.help_option_names}
        if args and not known.intersection(args[:1]):
            args = ["follow", *args]
        return super().parse_args(ctx, args)


_only_option = click.option(
    "--only", metavar="E,F", default="", help="Only these entities. Default: all that the log knows and will know."
)
_yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


@click.group(cls=_ForkGroup, name="fork", subcommand_metavar="LOG | plan | status | drop")
def command() -> None:
    """Make a fork of LOG in a PostgreSQL, MySQL, MariaDB or MongoDB of your own, bring it up to the log's head and keep it there.

    Shows what it is going to make and asks first. Run again, it goes on where it stood. Ctrl-C or SIGTERM ends it; nothing is
    lost or applied twice however it ends. What you change there stays: where upstream changes the same, it is a conflict,
    which `commitlog conflicts list` shows.

    \b
      commitlog fork plan file:./logs#shop --into postgresql://localhost/mine
      commitlog fork file:./logs#shop --into postgresql://localhost/mine
      commitlog fork file:./logs#shop --into mysql://me@localhost/mine
      commitlog fork status --into postgresql://localhost/mine

    --only E,F takes only these entities, --yes does not ask, --once stops at the log's head.
    """


@command.command(hidden=True)
@click.argument("log")
@into_option
@_only_option
@_yes_option
@click.option("--once", is_flag=True, help="Stop at the log's head.")
def follow(log: str, url: str, only: str, yes: bool, once: bool) -> int:
    """Make the fork where there is none, then apply the log.

    Exit code 1: done, and conflicts are open.
    """
    # Loaded here only: a `--help` needs no driver.
    from ..fork import growth
    from ..fork.follow import Follower
    from ..fork.plan import is_fork_of, make_plan
    from ..fork.targets import open_target

    configure_logging("text")
    output, reader = Output(), _reader(log)
    entities = _entities(only)
    with open_target(url) as target:
        if is_fork_of(target, reader, entities):
            output.line(f"going on with the fork in {_shown(url)}")
        else:
            plan = make_plan(reader, target, only=entities)
            output.line(f"a fork in {_shown(url)}", "bold")
            for line in plan.lines():
                output.line(f"  {line}")
            ask("make it and follow the log?", yes=yes)
            growth.create(target, plan)
    stop = _stop_on_signals()
    progress = _Progress(output)
    try:
        Follower(url, reader, stop=stop, report=progress).run(once=once)
    finally:
        progress.hide()
    return progress.end()


@command.command()
@click.argument("log")
@into_option
@_only_option
def plan(log: str, url: str, only: str) -> None:
    """Show what a fork of LOG would make, and write nothing."""
    from ..fork import status
    from ..fork.plan import is_fork_of, make_plan
    from ..fork.targets import open_target

    output, reader = Output(), _reader(log)
    with open_target(url) as target:
        if is_fork_of(target, reader, _entities(only)):
            found = status.read(target)
            output.line(f"the fork is there, at record {found.applied.head.seq}: nothing to make")
            return
        for line in make_plan(reader, target, only=_entities(only)).lines():
            output.line(line)


@command.command("status")
@into_option
@click.option(
    "--check", "source", metavar="URL", default="", help="Compare every row with the source's, which must be at rest."
)
@json_option
def show_status(url: str, source: str, as_json: bool) -> int:
    """Show where a fork stands. Exit code 1: conflicts are open, or --check found a difference.

    With --json one document: log, name, url, only, epoch, seq, hash, at, part {seq, item} (the first change that is not applied of a
    commit that goes in parts; else null), head_seq, behind, lag_s (these three null where the log cannot be read from here), conflicts, tables [{entity, table, snapshot}]; with --check also equal and compared
    [{entity, table, rows (null where nothing could be compared), equal, missing, extra, other {count, keys}, left_out [{field, by}]}].
    """
    from ..fork import equality, status
    from ..fork.targets import open_target

    output = Output(as_json=as_json)
    with open_target(url) as target:
        found = status.read(target)
    compared = equality.compare(source, url) if source else ()
    equal = all(table.equal for table in compared)
    if as_json:
        document = found.to_json()
        if source:
            document |= {"equal": equal, "compared": [table.to_json() for table in compared]}
        output.document(document)
    else:
        _print_status(output, found)
        _print_comparison(output, compared)
    return 1 if found.conflicts or not equal else 0


@command.command()
@into_option
@_yes_option
def drop(url: str, yes: bool) -> None:
    """Remove what the fork made, and only that: its tables with all rows, its types, its position and its conflicts."""
    from ..fork import growth, status
    from ..fork.targets import open_target

    output = Output()
    with open_target(url) as target:
        found = status.read(target)
        output.line(f"the fork of log {found.applied.upstream.name} in {_shown(url)}", "bold")
        for table in found.tables:
            output.line(f"  {table['table']}")
        ask("drop what the fork made of this, with the rows you changed there?", yes=yes)
        for line in growth.drop(target):
            output.line(f"left {line}")
    output.line("dropped")


class _Progress:
    """Tells how far a fork is: by a bar on a terminal while it catches up, else by a line now and then."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._bar = Bar("records")
        self._printed = 0.0
        self._caught_up = False
        self._seq, self._conflicts = -1, 0

    def __call__(self, progress: "Progress") -> None:
        before, self._conflicts, self._seq = self._conflicts, progress.conflicts, progress.seq
        if progress.conflicts > before:
            self._line(f"conflicts open: {progress.conflicts}; see commitlog conflicts list --into …", "yellow")
        caught_up = progress.seq == progress.head_seq
        if progress.seq < 0:
            return
        if caught_up and not self._caught_up:
            self._line(f"at record {progress.seq} of {progress.head_seq}, {progress.changes} changes: following")
            self._caught_up = True
        elif caught_up:
            self._bar.hide()
        elif wanted():
            self._bar.tell("catching up", progress.seq, progress.head_seq)
        elif time.monotonic() - self._printed > PROGRESS_S:
            self._line(f"at record {progress.seq} of {progress.head_seq}, {progress.changes} changes")
            self._printed = time.monotonic()

    def end(self) -> int:
        """Print where the fork stands, and give the exit code."""
        self._line(f"ended at record {self._seq}, conflicts open: {self._conflicts}")
        return 1 if self._conflicts else 0

    def hide(self) -> None:
        """Take the bar away."""
        self._bar.hide()

    def _line(self, text: str, style: str = "") -> None:
        self._bar.hide()
        self._output.line(text, style)
        self._output.flush()


def _print_status(output: Output, found: "Status") -> None:
    applied = found.applied
    output.line(f"fork of log {applied.upstream.name} ({applied.upstream.url})", "bold")
    lag = (
        "the log cannot be read from here"
        if found.behind is None
        else f"{found.behind} behind, lag {found.lag_s:.1f} s"
    )
    output.line(f"at record {applied.head.seq}, epoch {applied.epoch}, {lag}")
    if applied.part is not None:
        seq, item = applied.part
        output.line(f"the next commit is applied in part: up to item {item} of record {seq}")
    output.line(f"conflicts open: {found.conflicts}")
    output.records(["entity", "table", "snapshot"], found.tables)


def _print_comparison(output: Output, compared: "Sequence[Comparison]") -> None:
    for table in compared:
        if table.equal:
            output.line(f"{table.table}: equal, {table.rows} rows", "green")
        else:
            output.line(f"{table.table}: not equal", "red")
        for left in table.left_out:
            by = "newest shape" if left.by == "shape" else left.by
            output.line(f"  not compared: {left.field}, which the {by} does not have")
        for name, found in (("only upstream", table.missing), ("only here", table.extra), ("different", table.other)):
            if found.count:
                keys = ", ".join("/".join(key) for key in found.keys)
                output.line(f"  {name}: {found.count}: {keys}{', …' if found.count > len(found.keys) else ''}")


def _reader(log: str) -> LogReader:
    """The log by its absolute place: the fork remembers it, and is asked from other folders."""
    location = parse_location(log)
    return open_reader(
        replace(location, folder=location.folder.absolute()) if isinstance(location, Location) else location
    )


def _shown(url: str) -> str:
    return shown(url)


def _entities(only: str) -> list[str]:
    return [name.strip() for name in only.split(",") if name.strip()]


def _stop_on_signals() -> threading.Event:
    stop = threading.Event()

    def on_stop(number: int, _: FrameType | None) -> None:
        logging.getLogger("commitlog").info("%s: finishing", signal.Signals(number).name)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_stop)
    return stop
