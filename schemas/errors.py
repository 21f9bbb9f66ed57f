"""Every error that commitlog raises on purpose, each with the exit code and the retry class it stands for.

A message says what is wrong and where; `hint` says what to do next. The command line prints them as `error:` and
`try:`. Errors of a wrapped driver are never translated: an application sees psycopg's own.
"""

from typing import ClassVar, Literal

Retry = Literal["again", "after_operator", "never"]


ACCEPT_GAP = "commitlog resume --accept-gap"
"""The command that goes on behind lost history, for hints."""

LOG_WHOLE_ROWS = f"have every session log whole rows (of MySQL binlog_row_image = FULL), then {ACCEPT_GAP}"
"""What to do where a source logged less of a row than a record needs, for hints."""


class CommitLogError(Exception):
    """The root of all errors of commitlog.

    Args:
        message: What is wrong and where, one sentence without a final stop.
        hint: The next step, ideally a command ready to paste.
    """

    exit_code: ClassVar[int] = 4
    retry: ClassVar[Retry] = "never"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(CommitLogError):
    """A command, a flag or the configuration file says something that cannot be meant."""

    exit_code: ClassVar[int] = 2


class MissingExtra(UsageError):
    """A package of an optional extra is not installed."""

    def __init__(self, package: str, extras: str) -> None:
        super().__init__(f"{package} is not installed", hint=f"pip install 'commitlog-cdc[{extras}]'")


class HistoryLost(CommitLogError):
    """The source or the log no longer holds what it must hold; going on would hide a gap."""

    exit_code: ClassVar[int] = 3
    retry: ClassVar[Retry] = "after_operator"


class VerificationFailed(CommitLogError):
    """A log does not hold together: a byte, a link or a head is not what it was.

    Args:
        message: Which record, and what does not hold.
        seq: The sequence number of the first record that fails, -1 where no record can be named.
        hint: The next step.
    """

    exit_code: ClassVar[int] = 3

    def __init__(self, message: str, *, seq: int = -1, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.seq = seq


class RecordError(VerificationFailed):
    """A line of a log is not a record as schemas/README.md defines it."""


class Refused(CommitLogError):
    """A setting, a type, a schema or a privilege does not allow the guarantee, so nothing is done."""

    exit_code: ClassVar[int] = 4
    retry: ClassVar[Retry] = "after_operator"


class UnknownFormat(Refused):
    """A record names a format version or a critical key that this version does not know."""


class SchemaError(Refused):
    """An app schema is malformed, or says what the database contradicts."""


class DecodeError(Refused):
    """The source sent bytes that are not the protocol, or a message this version does not know."""

    retry: ClassVar[Retry] = "never"


class Locked(Refused):
    """Another process holds the writer lock of the log, or the slot of the source."""


class Unreachable(CommitLogError):
    """A server cannot be reached, or cut the connection; trying again later is right."""

    exit_code: ClassVar[int] = 5
    retry: ClassVar[Retry] = "again"


class SlotTaken(Locked):
    """Another connection reads the slot: another worker, or one that died and that the server has not noticed yet."""


class LeaseTaken(Unreachable):
    """Another worker writes to the log; when that one ends it is this one's turn."""


class LogUnwritable(Unreachable):
    """The log cannot be appended to (disk full, quota); nothing of the append is visible, nothing is acknowledged."""
