"""Rows that exchange their keys are found among the changes of a log."""

from typing import Any

from commitlog.cdc.fork.turns import stretches
from commitlog.cdc.fork.units import Origin, Unit
from commitlog.cdc.log.chain import ChainWriter, new_log_id
from commitlog.schemas.record import EMPTY, Record

CHAIN = ChainWriter(new_log_id(), epoch=1, engine="postgresql", position="0/0")
UNIT = Unit(Record.parse(CHAIN.record("coverage", [])), 1, EMPTY, None, [])


def rings(*moves: tuple[int, int] | None) -> list[tuple[int, bool]]:
    """The length of each stretch, and whether it is a ring; None is another change."""
    ops: list[Any] = []
    for number, move in enumerate(moves):
        change: dict[str, Any] = {"op": "update", "entity": "Place", "key": {"id": 1}}
        if move is not None:
            change = {"op": "rekey", "entity": "Place", "key": {"id": move[0]}, "newkey": {"id": move[1]}}
        ops.append((change, Origin(UNIT, (1, number))))
    found = list(stretches(ops))
    assert [op for stretch, _ in found for op in stretch] == ops
    return [(len(stretch), ring) for stretch, ring in found]


def test_only_rekeys_right_after_one_another_that_come_back_to_the_first_are_a_ring() -> None:
    assert rings() == []
    assert rings((1, 2), (2, 1)) == [(2, True)]
    assert rings(None, (3, 4), (1, 2), (2, 3), (3, 1), None) == [(2, False), (3, True), (1, False)]
    assert rings((1, 2), None, (2, 1)) == [(3, False)]
    assert rings((1, 2), (3, 1), (2, 3)) == [(3, False)]


def test_rings_are_told_apart() -> None:
    assert rings((1, 2), (2, 1), (2, 3), (3, 2), (1, 2), (2, 1)) == [(2, True)] * 3
    assert rings((1, 2), (2, 3), (3, 2), (2, 1)) == [(1, False), (2, True), (1, False)]
