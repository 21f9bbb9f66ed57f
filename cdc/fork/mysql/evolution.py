"""How a fork's table in MySQL or MariaDB follows further shapes.

Every statement is committed by itself; begun again after any of them, the same change goes on from what is there.
"""

import re
from dataclasses import replace
from typing import Final

from ....schemas.errors import Refused
from ...failpoint import failpoint
from ...tail.enums import renamed_labels
from ...tail.mysql_catalog import sql_name
from ...tail.mysql_types import engine_type
from ...tail.mysql_types import labels as labels_of
from ..model import EntityModel
from ..table_plan import Evolution, TypeChoice
from .column_types import choose
from .connection import Connected, quoted_text
from .tables import ActualColumn, check_names, columns, definition, is_of, name_of


def plan_evolution(target: Connected, old: EntityModel, new: EntityModel) -> Evolution:
    """See what a further shape needs.

    Raises:
        Refused: A column got another type; the owner decides what becomes of the values that are there. Or the table got
            another name, and there is a table of that name.
    """
    check_names(new)
    actual, name, now = columns(target, name_of(old.table)), name_of(old.table), name_of(new.table)
    if name != now and columns(target, now) and actual:
        raise Refused(
            f"{new.entity} moves from table {name} to {now} upstream, and the fork has a table of that name",
            hint=f"RENAME TABLE {sql_name(now)} TO …, then run the same command again",
        )
    actual = actual or columns(target, now)
    known, types = old.by_field, choose(new)
    added: dict[str, TypeChoice] = {}
    widened: dict[str, TypeChoice] = {}
    for column in new.columns:
        if column == known.get(column.field):
            continue
        choice, has = types[column.field], actual.get(column.field)
        if has is None:
            added[column.field] = choice
        elif not is_of(has, choice):
            wider = _widened(has.type, choice)
            if wider is None:
                raise Refused(
                    f"{new.entity}.{column.field} becomes {column.engine_type} upstream, and is {has.type} in the fork",
                    hint=f"ALTER TABLE {sql_name(name)} MODIFY COLUMN {sql_name(column.field)} {choice.shown},"
                    " then run the same command again",
                )
            widened[column.field] = wider
    relaxed = sorted(
        field
        for field in new.optional - old.optional - set(new.key) - added.keys()
        if field in actual and not actual[field].nullable
    )
    return Evolution(old, new, added, widened, (), tuple(relaxed))


def evolve(target: Connected, evolution: Evolution) -> None:
    """Change a table for a further shape, each step committed by itself."""
    old, new = name_of(evolution.old.table), name_of(evolution.model.table)
    if old != new and columns(target, old):
        target.run_all([f"RENAME TABLE {sql_name(old)} TO {sql_name(new)}"])
        failpoint("after_target_rename")
    actual, collation, changes = columns(target, new), target.collation, list[str]()
    for field, choice in evolution.added.items():
        changes.append(f"ADD COLUMN {definition(field, choice, 'NULL', collation)}")
    for field in dict.fromkeys((*evolution.widened, *evolution.relaxed)):
        choice = evolution.widened.get(field) or TypeChoice(actual[field].type)
        changes.append(
            f"MODIFY COLUMN {definition(field, choice, _null_now(actual[field], field, evolution), collation)}"
        )
    if changes:
        target.alter(f"ALTER TABLE {sql_name(new)} {', '.join(changes)}")
    if evolution.model.engine == "postgresql":
        _rename_labels(target, evolution, new)


def _rename_labels(target: Connected, evolution: Evolution, name: str) -> None:
    """What PostgreSQL does to all rows when it renames a label."""
    for column in evolution.model.columns:
        was = evolution.old.by_field.get(column.field)
        if was is not None and (was.type, column.type) == ("enum", "enum"):
            for before, now in renamed_labels(was.labels, column.labels).items():
                place = sql_name(column.field)
                target.alter(
                    f"UPDATE {sql_name(name)} SET {place} = {quoted_text(now)} WHERE {place} = {quoted_text(before)}"  # noqa: S608
                )


def _null_now(column: ActualColumn, field: str, evolution: Evolution) -> str:
    if field in evolution.relaxed or column.nullable:
        return "NULL"
    return "NOT NULL AUTO_INCREMENT" if column.numbered else "NOT NULL"


_WIDER: Final = (
    ("tinyint", "smallint", "mediumint", "int", "bigint", "decimal"),
    ("tinyint unsigned", "smallint unsigned", "mediumint unsigned", "int unsigned", "bigint unsigned"),
    ("float", "double"),
    ("varchar", "longtext"),
    ("decimal", "longtext"),
    ("enum", "longtext"),
    ("enum", "varchar"),
    ("date", "datetime"),
)


def _widened(old: str, choice: TypeChoice) -> TypeChoice | None:
    """The type that holds every value of both; None where nobody can say what becomes of those that are there."""
    (was, was_size), (now, now_size) = _sized(engine_type(old)), _sized(engine_type(choice.shown))
    if was == now and was in ("enum", "set"):
        # Labels that are gone upstream, rows may hold here until they are told anew.
        labels = tuple(dict.fromkeys((*choice.labels, *labels_of(old))))
        texts = ",".join("'" + label.replace("\\", "\\\\").replace("'", "''") + "'" for label in labels)
        return replace(choice, shown=f"{was}({texts})", labels=labels)
    if was == now and was in ("varchar", "varbinary", "datetime", "timestamp", "time"):
        return choice if now_size >= was_size else None
    if was == now == "decimal":
        (p, s), (q, t) = (*was_size, 0)[:2], (*now_size, 0)[:2]
        return choice if t == s and q >= p else None
    wider = any(was in order and now in order and order.index(was) < order.index(now) for order in _WIDER)
    if now == "decimal" and was != "decimal":
        wider = wider and len(now_size) == 2 and now_size[0] - now_size[1] >= 20
    return choice if wider else None


def _sized(shown: str) -> tuple[str, list[int]]:
    found = re.fullmatch(r"([a-z]+(?: unsigned)?)\(([0-9]+(?:,[0-9]+)?)\)( unsigned)?", shown)
    if found is None:
        return shown.partition("(")[0], []
    return found[1] + (found[3] or ""), [int(number) for number in found[2].split(",")]
