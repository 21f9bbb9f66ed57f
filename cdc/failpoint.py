"""Named places at which tests make the process die or fail, to prove that nothing is lost there.

`COMMITLOG_FAILPOINT=name:kill` ends the process with SIGKILL at the first passage of `name`; `name:kill:N` at the Nth; `name:raise`
raises OSError there, `name:stop` stands still until SIGCONT. Without the variable a passage costs one comparison.
"""

import os
import signal
import threading

_name: str
_action: str
_left: int


def arm(text: str) -> None:
    """Take what the variable would say in place of what it says."""
    global _name, _action, _left
    _name, _, action = text.partition(":")
    _action, _, count = action.partition(":")
    _left = int(count or 1)


arm(os.environ.get("COMMITLOG_FAILPOINT", ""))


def failpoint(name: str) -> None:
    """Pass the place called `name`."""
    if name == _name:
        _strike()


def _strike() -> None:
    global _left
    _left -= 1
    if _left == 0 and _action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if _left == 0 and _action == "stop":
        # To this thread: sent to the process, it would go on until another thread takes the signal.
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
    if _left == 0 and _action == "raise":
        raise OSError(f"failpoint {_name}")
