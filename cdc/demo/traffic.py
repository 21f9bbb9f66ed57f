"""Many requests at a steady rate: every user places orders and pays them until told to stop."""

import threading
import time
from collections.abc import Sequence

from .processes import DemoFailed
from .user import Answer, User

REQUESTS_PER_SECOND = 40
"""Of one user. Three of them leave a machine of two cores room for the shop, the mesh, the database and the worker."""


class Traffic:
    """Requests of several users, each in a thread of its own.

    Args:
        users: Who asks; they are not to be used for anything else meanwhile.
    """

    def __init__(self, users: Sequence[User]) -> None:
        self.answers: list[Answer] = []
        self._failures: list[DemoFailed] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(user,), daemon=True) for user in users]

    def __enter__(self) -> "Traffic":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def go_on(self, seconds: float) -> tuple[float, float]:
        """Let the requests come for so long.

        Returns:
            Begin and end of the stretch, in seconds since 1970.

        Raises:
            DemoFailed: A request failed.
        """
        begin = time.time()
        self._stop.wait(seconds)
        self.check()
        return begin, time.time()

    def check(self) -> None:
        """Raise DemoFailed if a request failed."""
        if self._failures:
            raise self._failures[0]

    def _work(self, user: User) -> None:
        due = time.monotonic()
        try:
            while not self._stop.is_set():
                placed = user.order(1, {3: 1})
                self.answers.append(placed)
                self.answers.append(user.do("PUT", f"/orders/{placed.id}/status", {"status": "paid"}))
                due += 2 / REQUESTS_PER_SECOND
                self._stop.wait(due - time.monotonic())
        except DemoFailed as exc:
            self._failures.append(exc)
            self._stop.set()
