"""What happens where a write of a MySQL driver cannot be tagged: it is counted, and refused or warned of, as `on_untagged` says."""

from __future__ import annotations

from typing import Any, ClassVar

from . import session as sessions
from .mysql_stamp import UNTAGGED_ALONE, Form, refusal
from .mysql_statement import Kind


class RefusingConnection:
    """The part of a connection that says what cannot be tagged."""

    # The driver's, which is an error of its library, too.
    _untagged: ClassVar[type[sessions.Untagged]] = sessions.Untagged
    _form: Form
    _transaction: Any

    def _may_stamp(self) -> bool:
        """Return whether the stamp will succeed, as far as that can be known; do what `on_untagged` says if not."""
        why = refusal(self._form, locked=self._transaction.locked)
        if why is not None:
            self._refuse(why)
        return why is None

    def _refuse_alone(self, of: Kind) -> None:
        """Say what goes untagged as a transaction of its own, if that does."""
        if of in UNTAGGED_ALONE:
            self._refuse(UNTAGGED_ALONE[of])

    def _refuse(self, why: str) -> None:
        sessions.untagged(why, error=self._untagged)
