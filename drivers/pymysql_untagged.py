"""What happens where a write of PyMySQL cannot be tagged: it is counted, and refused or warned of, as `on_untagged` says."""
# pyright: reportPrivateUsage=false

from __future__ import annotations

import warnings

from pymysql import err

from . import session as sessions
from .mysql_stamp import UNTAGGED_ALONE, refusal
from .mysql_statement import Kind
from .pymysql_packets import TrackedConnection


class Untagged(sessions.Untagged, err.NotSupportedError):
    """A session is bound, its write cannot be tagged, and `on_untagged` is "raise". The write has not happened."""


class RefusingConnection(TrackedConnection):
    """The part of a connection that says what cannot be tagged."""

    def _may_stamp(self) -> bool:
        """Return whether the stamp will succeed, as far as that can be known; do what `on_untagged` says if not."""
        why = refusal(self._form, locked=self._transaction.locked)
        if why is not None:
            self._refuse(why)
        return why is None

    def _refuse_lone(self, of: Kind) -> None:
        if of in UNTAGGED_ALONE:
            self._refuse(UNTAGGED_ALONE[of])

    def _refuse(self, why: str) -> None:
        sessions.untagged(why, error=Untagged)

    def _regret(self, why: str) -> None:
        """Count a write that went untagged, where that was known too late to refuse it."""
        sessions.count(f"untagged: {why}")
        if sessions.settings().on_untagged != "allow":
            warnings.warn(f"a write went untagged: {why}", sessions.TagWarning, stacklevel=2)
