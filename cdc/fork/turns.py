"""Changes of one transaction whose keys are in each other's way: upstream may check them at its end only.

A change waits until the row in its way has gone. While a row waits to leave a key, what is said of that key is meant for the row that
comes there next: it becomes one with the change that brings that row, or waits behind it where nobody has told of one yet.
"""

from collections import deque
from collections.abc import Iterator, Sequence

from .batch import Op
from .conflicts import key_text
from .rows import Rows
from .units import Change, Unit

Place = tuple[str, str]
"""Entity and key."""


class Turns:
    """Applies single changes, each in its turn.

    Args:
        rows: Applies one.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._unit: Unit | None = None
        self._wanting: dict[Place, list[Op]] = {}
        """Place to the changes that wait for it to be free."""
        self._leaving: dict[Place, Op] = {}
        """Place to the one of them that takes its row away."""
        self._behind: dict[Place, list[Op]] = {}
        """Place to the changes of the row that comes there next."""

    @property
    def waiting(self) -> bool:
        """Whether a change waits."""
        return bool(self._wanting)

    def clear(self) -> None:
        """Forget what waits."""
        self._wanting.clear()
        self._leaving.clear()
        self._behind.clear()

    def take(self, op: Op) -> None:
        """Apply a change, or let it wait; and then those for which it makes way."""
        if op[1].unit is not self._unit:
            self.finish()
            self._unit = op[1].unit
        place = _place(op[0], "key")
        own = place in self._wanting and place not in self._leaving and op[0]["op"] != "insert"
        if own and self._rows.one_only(op):
            # What is in the way is the fork's own: upstream means the row that waits.
            self._go_on(self._change(self._wanting[place][0], op))
        else:
            self._go_on([op])

    def ring(self, ops: Sequence[Op]) -> None:
        """Apply changes that are such a ring as `stretches` gives."""
        if ops[0][1].unit is not self._unit:
            self.finish()
            self._unit = ops[0][1].unit
        waiting = self._wanting.keys() | self._leaving.keys() | self._behind.keys()
        if not waiting.isdisjoint(_place(change, "key") for change, _ in ops) or not self._rows.ring(ops):
            for op in ops:
                self.take(op)

    def _go_on(self, ops: list[Op]) -> None:
        todo = deque(ops)
        while todo:
            op = todo.popleft()
            place = _place(op[0], "key")
            if place in self._leaving and op[0]["op"] == "insert":
                # Upstream had no row there any more, whatever the log tells after this.
                self._wait(({**op[0], "told": None}, op[1]))
            elif place in self._wanting and place in self._leaving:
                todo.extendleft(self._change(self._wanting[place][0], op))
            elif place in self._leaving:
                self._behind.setdefault(place, []).append(op)
            elif (waiting := self._rows.apply(op, last=False, behind=_place(op[0], "newkey") in self._leaving)) is None:
                todo.extendleft(reversed(self._freed(op)))
            else:
                self._wait(waiting)
                todo.extendleft(reversed(self._turned(waiting)))

    def finish(self) -> None:
        """Apply those that wait, whatever is in their way; first those in whose way is a row that does not wait to leave itself."""
        while self._wanting:
            for op in [ops[0] for ops in self._wanting.values()]:
                self._go_on(self._turned(op))
            if not self._wanting:
                return
            place = next((place for place in self._wanting if place not in self._leaving), next(iter(self._wanting)))
            op = self._wanting[place][0]
            self._wait_no_more(op)
            self._rows.apply(op, last=True)
            self._go_on(self._freed(op))

    def _wait(self, op: Op) -> None:
        self._wanting.setdefault(_place(op[0], "newkey"), []).append(op)
        if op[0]["op"] == "rekey":
            self._leaving[_place(op[0], "key")] = op

    def _change(self, waiting: Op, then: Op) -> list[Op]:
        """What becomes of a change that waits when another one of its row comes: it keeps its turn, unless it goes elsewhere."""
        place, both = _place(waiting[0], "newkey"), _at_once(waiting[0], then)
        if not both or _place(both[0][0], "newkey") != place:
            self._wait_no_more(waiting)
            return both
        self._wanting[place][0] = both[0]
        if both[0][0]["op"] == "rekey":
            self._leaving[_place(both[0][0], "key")] = both[0]
        return []

    def _wait_no_more(self, op: Op) -> None:
        place = _place(op[0], "newkey")
        self._wanting[place].remove(op)
        if not self._wanting[place]:
            del self._wanting[place]
        if self._leaving.get(_place(op[0], "key")) is op:
            del self._leaving[_place(op[0], "key")]

    def _freed(self, op: Op) -> list[Op]:
        """What waited for a change that was applied: those that want its row's place, and those behind it."""
        place = _place(op[0], "key")
        if op[0]["op"] not in ("rekey", "delete"):
            return []
        wanting = list(self._wanting.get(place, ()))
        for other in wanting:
            self._wait_no_more(other)
        return wanting + self._behind.pop(place, [])

    def _turned(self, op: Op) -> list[Op]:
        """Where rows wait for each other in a ring that a change closes, let them exchange their keys; what waited behind them."""
        ring = self._ring(op)
        if not ring or not self._rows.exchange(ring):
            return []
        for moved in ring:
            self._wait_no_more(moved)
        return [behind for moved in ring for behind in self._behind.pop(_place(moved[0], "key"), [])]

    def _ring(self, op: Op) -> list[Op]:
        """The changes that wait for each other from one on and back to it; none where they do not come back."""
        ring: list[Op] = []
        following: Op | None = op
        while following is not None and len(ring) <= len(self._leaving):
            coming = self._wanting.get(_place(following[0], "newkey"))
            if coming is None or coming[0] is not following:
                # Another one comes there before, and may go on from there.
                break
            ring.append(following)
            following = self._leaving.get(_place(following[0], "newkey"))
            if following is op:
                return ring
        return []


def stretches(ops: Sequence[Op]) -> Iterator[tuple[Sequence[Op], bool]]:
    """Changes in their order, by stretches: (changes, whether they are a ring of rows that take each other's keys).

    Such rows stand as rekeys right after one another, each with the newkey that the next one leaves (schemas/README.md, Changes).
    """
    begun, line = 0, dict[Place, int]()
    following: Place | None = None
    unit: Unit | None = None
    for at, (change, origin) in enumerate(ops):
        if change.get("op") != "rekey" or not change.keys() >= {"key", "newkey"}:
            following = None
            continue
        place = _place(change, "key")
        if place != following or origin.unit is not unit:
            line.clear()
        line[place], unit, following = at, origin.unit, _place(change, "newkey")
        if (first := line.get(following)) is not None:
            if first > begun:
                yield ops[begun:first], False
            yield ops[first : at + 1], True
            begun, following = at + 1, None
    if begun < len(ops):
        yield ops[begun:], False


def _at_once(first: Change, op: Op) -> list[Op]:
    """One change instead of two of a row, the first of which has not been applied; none where nothing is left of them."""
    then, origin = op
    key = first["key"]
    if then["op"] == "delete":
        if first["op"] == "insert":
            return []
        return [({**then, "key": key, "before": {**then["before"], **first.get("before", {}), **key}}, origin)]
    after = {**first["after"], **then["after"]}
    if first["op"] == "insert":
        return [({**first, "key": then.get("newkey", key), "after": after}, origin)]
    newkey = then.get("newkey", first["newkey"])
    both = {**first, "newkey": newkey, "after": after}
    if first["image"] == "key" or then["image"] == "key":
        both["image"] = "key"
        both.pop("before", None)
        unsent = then.get("unsent") or first.get("unsent") or ()
        both["unsent"] = [field for field in unsent if field not in after]
    else:
        both["before"] = {**then["before"], **first["before"], **key}
    if newkey == key:
        # It comes back to where it was.
        for fields in both.keys() & {"before", "after"}:
            both[fields] = {field: value for field, value in both[fields].items() if field not in key}
        both["op"] = "update"
        del both["newkey"]
        return [(both, origin)] if both["after"] else []
    return [(both, origin)]


def _place(change: Change, key: str) -> Place:
    """Where a row is before a change (`key`), or after it (`newkey`)."""
    return change["entity"], key_text(change.get(key, change["key"]))
