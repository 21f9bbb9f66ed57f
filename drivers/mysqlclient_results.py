"""Statements of ours among the app's, whose results the app does not see, on a connection of mysqlclient.

Where the connection takes several statements in one text, as it does unless the app says otherwise, they cost no round trip.
What the app's statement said stays what the connection says, whatever came after it.
"""
# pyright: reportPrivateUsage=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownLambdaType=false

from __future__ import annotations

import re
from importlib import import_module
from types import MethodType
from typing import TYPE_CHECKING, Any, NamedTuple

from .mysql_script import Script
from .mysql_statement import ASKS_WARNINGS

plain: Any = import_module("MySQLdb")
if plain.__name__ != "MySQLdb":
    raise ImportError(
        f"MySQLdb is not mysqlclient in this process: {plain.__name__} was put in its place (install_as_MySQLdb). "
        "Leave that out, or import commitlog.drivers.pymysql instead"
    )

if TYPE_CHECKING:
    # Nothing of it is typed, and the package need not be there.
    from typing import Any as PlainConnection
else:
    PlainConnection = import_module("MySQLdb.connections").Connection

NativeConnection: Any = import_module("MySQLdb._mysql").connection

MULTI_STATEMENTS: int = import_module("MySQLdb.constants.CLIENT").MULTI_STATEMENTS
OUT_OF_SYNC: int = import_module("MySQLdb.constants.CR").COMMANDS_OUT_OF_SYNC

SHOW_WARNINGS = b"SHOW WARNINGS"
_TEXT_BYTES_MAX = 65536
"""A longer statement goes alone: with ours beside it it might be longer than the server takes."""
_LOADS = re.compile(rb"\s*load\b", re.IGNORECASE)
_SAID = ("affected_rows", "info", "warning_count", "field_count", "errno", "error", "sqlstate")


class Answer(NamedTuple):
    """A result, and what the connection said of it."""

    result: Any
    said: dict[str, Any]


class ScriptedConnection(PlainConnection):  # type: ignore[misc] # see above
    """The part of a connection that runs texts in which not all is the app's."""

    client_flag: int
    _several = False
    _ahead = 0  # statements of it that were sent, and whose results are to be read
    _said: dict[str, Any] | None = None  # of the app's last statement, where one of ours came after it
    _repeated: Any = None  # a result that the app asked for again
    _held_id: int | None = None  # the app's last, where a statement of ours came after it

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # What each statement asks for is found sooner in the connection itself than in its class.
        self._script: Script | None = None  # of which something is still to be read
        self._warnings: Answer | None = None  # what SHOW WARNINGS would say, had nothing of ours come after it
        self._covered = False  # whether something of ours is kept, and what a cursor asks for answered here
        super().__init__(*args, **kwargs)

    def _cover(self) -> None:
        """Answer here what a cursor asks for, since something of ours comes between; at other times it costs the library's own time only."""
        if not self._covered:
            self._covered = True
            self.__dict__.update((name, MethodType(answer, self)) for name, answer in _COVERS.items())

    def _uncover(self) -> None:
        ours = (self._script, self._warnings, self._repeated, self._held_id)
        if self._covered and all(each is None for each in ours):
            self._covered = False
            for name in _COVERS:
                del self.__dict__[name]

    def _run_script(self, script: Script) -> None:
        """Run a script up to its first result that is the app's, and to its end where the app has no more to read."""
        self._cover()
        self._warnings = self._repeated = None
        self._script, self._ahead = script, 0
        self._to_shown()

    def _to_shown(self) -> bool:
        """Go on to the next result that is the app's; False where there is none."""
        while (script := self._script) is not None:
            if not script.shown:
                self._script = None
                self._script_ended(script)
                break
            shown = script.shown[0]
            if self._step(script) and shown:
                self._arrived()
                if not super().field_count():
                    self._pass_over()
                return True
        return False

    def _arrived(self) -> None:
        """What the connection says is of the app's statement; but the library keeps the last insert id where there are rows, or an error."""
        self._said = None
        if not super().field_count():
            self._held_id = None
        self._uncover()

    def _pass_over(self) -> None:
        """The app has its result: read what follows, unless more of it is the app's."""
        script = self._script
        if script is not None and not any(script.shown):
            self._to_shown()

    def _step(self, script: Script) -> bool:
        """Read the next statement's result; False where there is none, because a statement failed."""
        if self._said is None and not script.shown[0] and len(script.shown) < len(script.statements):
            self._said = self._saying()
        at = len(script.statements) - len(script.shown)
        statement = script.statements[at]
        self._hold_insert_id()
        try:
            if self._ahead:
                if super().next_result() != 0:
                    self._script = None
                    self._script_failed(script, None)  # among the rows of the one before, where the app has seen it
                    return False
                self._ahead -= 1
            elif statement is SHOW_WARNINGS and at and not super().warning_count():
                script.shown.pop(0)
                return True
            else:
                self._send_on(script, at)
        except plain.MySQLError as error:
            if error.args[0] == OUT_OF_SYNC:
                raise
            self._ahead = 0
            if at in script.stamps:
                script.shown.pop(0)
                self._stamp_failed(script, error)
                return False
            self._script = None
            self._script_failed(script, error)
            raise
        if statement is SHOW_WARNINGS:
            self._warnings = Answer(super().store_result(), self._saying())
        script.shown.pop(0)
        return True

    def _send_on(self, script: Script, at: int) -> None:
        """Send what is next of a script, all in one text where that can be."""
        rest = script.statements[at:]
        if not self._several or any(len(text) > _TEXT_BYTES_MAX or _LOADS.match(text) for text in rest):
            del rest[1:]
        super().query(b"\n;".join(rest))
        self._ahead = len(rest) - 1

    def _saying(self) -> dict[str, Any]:
        return {name: getattr(super(ScriptedConnection, self), name)() for name in _SAID}

    def _hold_insert_id(self) -> None:
        self._cover()
        if self._held_id is None:
            self._held_id = super().insert_id()

    def _script_ended(self, script: Script) -> None:
        """All of a script has been read."""

    def _script_failed(self, script: Script, error: Any) -> None:
        """A statement of a script has failed that is no stamp."""

    def _stamp_failed(self, script: Script, error: Any) -> None:
        """A stamp has failed: raise, or let the rest be sent."""

    def _keep_warnings(self) -> None:
        """Ask for the warnings, before a statement of ours wipes them out."""
        if self._warnings is not None:
            return
        self._said = self._saying()
        self._hold_insert_id()
        super().query(SHOW_WARNINGS)
        self._warnings = Answer(super().store_result(), self._saying())

    def _ask_server(self, *statements: bytes) -> list[Any]:
        """Run statements of ours; the rows of each."""
        self._said = self._said or self._saying()
        self._hold_insert_id()
        found: list[Any] = []
        for text in [b"\n;".join(statements)] if self._several else statements:
            super().query(text)
            while True:
                result = super().store_result()
                found.append(() if result is None else result.fetch_row(0))
                if super().next_result() != 0:
                    break
        return found

    def _enter(self) -> None:
        """Before anything is sent: read what is left of ours, where the app has read its own."""
        if self._script is not None:
            self._pass_over()

    def _repeat_warnings(self, text: bytes) -> bool:
        """Have a statement answered by what is kept, where it asks for warnings that the server has no more."""
        if self._warnings is None or not ASKS_WARNINGS.fullmatch(text):
            return False
        self._cover()
        self._repeated, said = self._warnings
        self._said = dict(said)
        self._repeated.data_seek(0)
        return True

    # What a cursor asks for, while it is covered

    def _insert_id(self) -> int:
        last: int = super().insert_id()
        return last if self._held_id is None else self._held_id

    def _next_result(self) -> int:
        if self._script is not None:
            if any(self._script.shown):
                return 0 if self._to_shown() else -1
            self._pass_over()
        self._repeated = None
        there: int = super().next_result()
        if there == 0:
            self._arrived()
        if self._said is not None:
            self._said["affected_rows"] = super().affected_rows()
        return there

    def _more_results(self) -> bool:
        if self._script is not None:
            return any(self._script.shown)
        there: bool = super().more_results()
        return there

    def _store_result(self) -> Any:
        if self._repeated is not None:
            result, self._repeated = self._repeated, None
            return result
        result = self._taken(super().store_result)
        if self._script is not None:
            self._pass_over()
        return result

    def _use_result(self) -> Any:
        if self._repeated is not None:
            self._said = {**(self._said or {}), "affected_rows": -1}
            return self._store_result()
        return self._taken(super().use_result)

    def _discard_result(self) -> None:
        self._repeated = None
        self._taken(super().discard_result)
        self._pass_over()

    def _taken(self, take: Any) -> Any:
        try:
            return take()
        except plain.MySQLError as error:
            script = self._script
            if script is not None and error.args[0] != OUT_OF_SYNC:
                self._script = None
                self._script_failed(script, error)
            raise


def _saying(name: str) -> Any:
    plainly: Any = getattr(PlainConnection, name)

    def say(self: ScriptedConnection) -> Any:
        return plainly(self) if self._said is None else self._said[name]

    return say


_RESULTS = ("insert_id", "next_result", "more_results", "store_result", "use_result", "discard_result")
_COVERS: dict[str, Any] = {name: getattr(ScriptedConnection, f"_{name}") for name in _RESULTS}
_COVERS.update((name, _saying(name)) for name in _SAID)


def _after_ours(name: str) -> Any:
    def act(self: ScriptedConnection, *args: Any, **named: Any) -> Any:
        self._enter()
        return getattr(PlainConnection, name)(self, *args, **named)

    act.__name__, act.__doc__ = name, f"See `MySQLdb.connections.Connection.{name}`."
    return act


for _name in ("select_db", "set_character_set", "kill", "stat", "shutdown", "dump_debug_info"):
    setattr(ScriptedConnection, _name, _after_ours(_name))
