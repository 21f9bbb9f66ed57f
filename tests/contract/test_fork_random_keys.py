"""Random changes of keys upstream beside random changes in a fork: no difference is without a conflict, and nothing of the fork's own is lost."""

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from fixtures.fork_log import Fork, MadeLog, column

FIRST = dict(enumerate("abcde", 1))
KEYS = range(1, 9)


class Play:
    """One table: its rows upstream, key to name, and what the fork's owner did to each."""

    def __init__(self, log: MadeLog, number: int, seed: Random) -> None:
        self.log, self.entity, self.seed = log, f"P{number}", seed
        self.rows = dict(FIRST)
        self.deleted: set[str] = set()
        self.noted: set[str] = set()
        self.own: set[int] = set()
        log.shape(self.entity, column("id", "int32", nullable=False), column("who"), column("note"))
        log.snapshot(self.entity, *(self.row(key, name) for key, name in FIRST.items()))

    @staticmethod
    def row(key: int, name: str) -> dict[str, Any]:
        return {"id": key, "who": name, "note": "-"}

    def change_here(self, fork: Fork) -> None:
        """What the owner does: delete rows, change them, make some."""
        table = f"public.{self.entity.lower()}"
        for key in KEYS:
            chance = self.seed.random()
            if key not in FIRST and chance < 0.15:
                fork.sql(f"INSERT INTO {table} VALUES ({key}, 'own', 'own')")
                self.own.add(key)
            elif key in FIRST and chance < 0.25:
                fork.sql(f"DELETE FROM {table} WHERE id = {key}")
                self.deleted.add(FIRST[key])
            elif key in FIRST and chance < 0.4:
                fork.sql(f"UPDATE {table} SET note = 'mine' WHERE id = {key}")
                self.noted.add(FIRST[key])

    def exchange(self) -> None:
        """A commit in the form in which transactions under deferrable keys stand: what became of each row; movers by chains and rings."""
        going = {key: key for key in self.rows}
        moving = [key for key in self.rows if self.seed.random() < 0.7]
        free = [key for key in KEYS if key not in self.rows or key in moving]
        going.update(zip(moving, self.seed.sample(free, len(moving)), strict=True))
        changes: list[dict[str, Any]] = []
        left = {key for key, to in going.items() if key != to}
        while left:
            line = [min(left)]
            while (following := going[line[-1]]) in left and following != line[0]:
                line.append(following)
            ring = going[line[-1]] == line[0]
            # Each to a key that is free, or a ring, one after the other.
            order = line if ring else line[::-1]
            changes += [self.log.rekey(self.entity, key, going[key]) for key in order]
            left -= set(line)
        self.rows = {going[key]: name for key, name in self.rows.items()}
        if changes:
            self.log.commit(*changes)

    def move(self) -> None:
        """A commit of changes one after the other, each to a key that is free then."""
        changes: list[dict[str, Any]] = []
        for _ in range(self.seed.randrange(1, 6)):
            free, key = [key for key in KEYS if key not in self.rows], self.seed.choice(list(self.rows))
            if self.seed.random() < 0.8:
                to = self.seed.choice(free)
                changes.append(self.log.rekey(self.entity, key, to))
                self.rows[to] = self.rows.pop(key)
            elif len(self.rows) > 1:
                changes.append(self.log.delete(self.entity, self.row(key, self.rows.pop(key))))
        if changes:
            self.log.commit(*changes)

    def check(self, fork: Fork, conflicts: set[int]) -> None:
        """Hold the fork against upstream."""
        found = {row[0]: row[1:] for row in fork.sql(f"SELECT id, who, note FROM public.{self.entity.lower()}")}
        for key in KEYS:
            theirs, ours = self.rows.get(key), found.get(key)
            agreed = ours == (None if theirs is None else (theirs, "-"))
            mine = ours == (theirs, "mine") or (theirs is None and ours == ("own", "own"))
            gone = ours is None and theirs in self.deleted and FIRST.get(key) == theirs
            assert agreed or mine or gone or key in conflicts, (key, theirs, ours)
        assert sum(ours == ("own", "own") for ours in found.values()) == len(self.own)
        assert {name for name, note in found.values() if note == "mine"} == self.noted


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.full) for seed in range(2, 9))])
def test_no_difference_is_without_a_conflict_and_no_change_of_the_forks_own_is_lost(
    made_log: MadeLog, new_database: Callable[[], str], seed: int
) -> None:
    random = Random(seed)
    fork = Fork(made_log, new_database())
    plays = [Play(made_log, number, random) for number in range(50)]
    fork.sync()
    for play in plays:
        play.change_here(fork)
    for _ in range(3):
        for play in plays:
            random.choice([play.exchange, play.move])()
        fork.sync()
        named = [(conflict["entity"], conflict["key"]["id"]) for conflict in fork.conflicts()]
        for play in plays:
            play.check(fork, {key for entity, key in named if entity == play.entity})
