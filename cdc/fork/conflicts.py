"""Where a fork and its upstream disagree: written in the transaction that met it, kept until both sides agree again.

While a conflict is open the fork's own value stands. It is settled when a later change of upstream finds the fork as upstream
expects it to be.
"""

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from ...schemas.record import is_object
from .store import Store
from .units import Change, Origin

ROW = ""
"""The field of a conflict that is about a whole row."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """What one change met.

    Args:
        kind: `insert/insert`, `update/update`, `update/delete`, `delete/update`, or the name of what the target refused:
            `unique`, `foreign key`, `check`, `not null`, `exclusion`, `value`, `refused`.
        field: The field, or ROW.
        base: What upstream said before, where it said so: a value, or fields and values of a row; None for nothing.
        ours: What the fork has; None for nothing.
        theirs: What upstream says now; None for nothing.
        error: What the target said.
    """

    kind: str
    field: str
    base: Any
    ours: Any
    theirs: Any
    error: str = ""


class Conflicts:
    """The open conflicts of a fork, inside the transaction in hand.

    Args:
        target: The fork.
        log: The id of its log.
    """

    def __init__(self, target: Store, log: str) -> None:
        self._target, self._log = target, log
        self.recount()

    def recount(self) -> None:
        """Count what is open: a transaction was rolled back."""
        self.open = count(self._target)

    def record(self, change: Change, origin: Origin, what: Disagreement) -> None:
        """Write a disagreement; one that is open already on the same field goes on with what upstream says now.

        Its base stays what it was when both sides last agreed.
        """
        seq, item = origin.place
        key = key_text(change["key"])
        theirs = what.theirs
        by, commit = _json(origin.unit.by), origin.unit.last.header["id"]
        epoch = origin.unit.last.header["epoch"]
        known = self._known(change["entity"], key, what.field)
        if known is not None:
            if what.field == ROW and is_object(known[1]) and is_object(theirs):
                theirs = {**known[1], **theirs}
            self._target.execute(
                "UPDATE _commitlog.conflicts SET theirs = %s, theirs_by = %s, commit = %s, epoch = %s, seq = %s,"
                " ours = %s, error = %s WHERE id = %s",
                (_json(theirs), by, commit, epoch, seq, _json(what.ours), what.error, known[0]),
            )
            return
        place = key_text([self._log, epoch, seq, item, change["entity"], key, what.field])
        self._target.execute(
            'INSERT INTO _commitlog.conflicts (id, kind, entity, "key", field, base, ours, theirs, theirs_by, commit, epoch,'
            " seq, error) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (
                hashlib.sha256(place.encode()).hexdigest()[:12],
                what.kind,
                change["entity"],
                key,
                what.field,
                _json(what.base),
                _json(what.ours),
                _json(theirs),
                by,
                commit,
                epoch,
                seq,
                what.error,
            ),
        )
        self.open += 1

    def settle(self, agreed: Iterable[tuple[str, str, Collection[str] | None]]) -> None:
        """Close what is open where both sides now agree.

        Args:
            agreed: (entity, key as `key_text` writes it, fields); None for the fields: the whole row.
        """
        if not self.open:
            return
        found: dict[str, dict[str, list[Collection[str] | None]]] = {}
        for entity, key, fields in agreed:
            found.setdefault(entity, {}).setdefault(key, []).append(fields)
        for entity, keys in found.items():
            closed = [
                id_
                for id_, key, field in self._open_of(entity, tuple(keys))
                if any(fields is None or field in fields for fields in keys[key])
            ]
            if closed:
                self.open -= self._target.execute(
                    "UPDATE _commitlog.conflicts SET status = 'settled', closed_at = CURRENT_TIMESTAMP(6)"  # noqa: S608
                    f" WHERE id IN ({_places(closed)})",
                    closed,
                )

    def move(self, entity: str, key: object, newkey: object) -> None:
        """Upstream has given a row another key, and so has the fork."""
        self.settle([(entity, key_text(newkey), None)])
        self._target.execute(
            'UPDATE _commitlog.conflicts SET "key" = %s WHERE status = \'open\' AND entity = %s AND "key" = %s',
            (key_text(newkey), entity, key_text(key)),
        )

    def amend(self, commit: str, epoch: int, by: dict[str, Any] | None) -> None:
        """Upstream has learned later who made a commit."""
        self._target.execute(
            "UPDATE _commitlog.conflicts SET theirs_by = %s WHERE commit = %s AND epoch = %s",
            (_json(by), commit, epoch),
        )

    def _known(self, entity: str, key: str, field: str) -> tuple[str, Any] | None:
        rows = self._target.rows(
            f"SELECT id, {self._target.document('theirs')} FROM _commitlog.conflicts"  # noqa: S608 - constant names
            " WHERE status = 'open' AND entity = %s AND \"key\" = %s AND field = %s",
            (entity, key, field),
        )
        return (rows[0][0], _value(rows[0][1])) if rows else None

    def _open_of(self, entity: str, keys: Sequence[str]) -> list[tuple[str, str, str]]:
        """(id, key, field) of what is open on rows of these keys."""
        rows = self._target.rows(
            'SELECT id, "key", field FROM _commitlog.conflicts'  # noqa: S608 - places only
            f" WHERE status = 'open' AND entity = %s AND \"key\" IN ({_places(keys)})",
            (entity, *keys),
        )
        return [(row[0], row[1], row[2]) for row in rows]


def count(target: Store) -> int:
    """How many conflicts are open."""
    return int(target.rows("SELECT count(*) FROM _commitlog.conflicts WHERE status = 'open'")[0][0])


def key_text(key: object) -> str:
    """A key as conflicts name it: its JSON."""
    return orjson.dumps(key).decode()


def _places(values: Sequence[object]) -> str:
    return ", ".join(["%s"] * len(values))


def _json(value: object) -> str | None:
    return None if value is None else orjson.dumps(value).decode()


def _value(text: str | None) -> Any:
    return None if text is None else orjson.loads(text)


_COLUMNS = (
    "id status kind entity key field base ours theirs ours_by theirs_by commit epoch seq error at closed_at"
).split()
_DOCUMENTS = ("base", "ours", "theirs", "ours_by", "theirs_by")
_MOMENTS = ("at", "closed_at")


def listed(target: Store, *, closed: bool = False, entity: str = "", id_: str = "") -> list[dict[str, Any]]:
    """Conflicts, oldest first.

    Args:
        target: The fork.
        closed: Those that are settled, too.
        entity: Only those of one entity.
        id_: Only those whose id begins so.
    """
    rows = target.rows(
        f"SELECT {', '.join(_read(target, column) for column in _COLUMNS)} FROM _commitlog.conflicts"  # noqa: S608
        " WHERE (%s OR status = 'open') AND (%s = '' OR entity = %s) AND left(id, char_length(%s)) = %s"
        " ORDER BY seq, at, id",
        (closed, entity, entity, id_, id_),
    )
    found: list[dict[str, Any]] = [dict(zip(_COLUMNS, row, strict=True)) for row in rows]
    for conflict in found:
        for name in ("key", *_DOCUMENTS):
            conflict[name] = _value(conflict[name])
        for name in ("epoch", "seq"):
            conflict[name] = int(conflict[name])
    return found


def _read(target: Store, column: str) -> str:
    if column in _DOCUMENTS:
        return target.document(column)
    return target.moment(column) if column in _MOMENTS else f'"{column}"'
