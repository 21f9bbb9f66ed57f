"""What a log says of failovers, and which of them it follows, without a server."""

import json

import pytest

from commitlog.cdc.config import SourceConfig
from commitlog.cdc.log.chain import ChainWriter
from commitlog.cdc.log.state import LogState
from commitlog.cdc.source.failover import Failover
from commitlog.cdc.tail.catalog import Identity, Slot
from commitlog.cdc.tail.timeline import Switch
from commitlog.schemas.errors import HistoryLost

GENESIS = {"engine": "postgresql", "system": "77", "timeline": 1, "database": "shop", "name": "shop"}
SOURCE = SourceConfig(url="postgresql:///nowhere", slot="shop")


def state() -> LogState:
    return LogState(log="ab" * 16, genesis=dict(GENESIS), position="0/10")


def slot(*, synced: bool) -> Slot:
    return Slot("shop", "pgoutput", "shop", None, 8, 8, "reserved", 0, None, failover=True, synced=synced)


def test_several_failovers_are_passed_one_after_the_other() -> None:
    known = state()
    chain = ChainWriter(known.log, epoch=1, engine="postgresql", position=known.position)
    failover = Failover([Switch(0x20, 2), Switch(0x40, 4)])
    told = []
    while failover.at < 0x100:
        record = json.loads(failover.record(known, chain))
        told.append((record["header"]["source"], record["header"]["epoch"], record["body"]["items"][2]))

    assert [place["position"] for place, _, _ in told] == ["0/20", "0/40"]
    assert [place["after"] for place, _, _ in told] == ["0/10", "0/20"]
    assert {epoch for _, epoch, _ in told} == {1}
    assert [item["timeline"] for _, _, item in told] == [2, 4]
    assert all(item["system"] == "77" for _, _, item in told)
    assert known.genesis["timeline"] == 4


def test_on_the_same_timeline_nothing_is_asked() -> None:
    same = Identity("77", 1, "shop", 0x100, 180000)
    assert Failover.between(same, None, SOURCE, state()).at > 1 << 63
    assert Failover.between(Identity("77", 9, "shop", 0x100, 180000), None, SOURCE, LogState()).at > 1 << 63


@pytest.mark.parametrize(
    ("timeline", "version", "there", "words"),
    [
        (2, 160004, slot(synced=True), "before PostgreSQL 17"),
        (2, 180000, None, "was not synchronised"),
        (2, 180000, slot(synced=False), "was not synchronised"),
    ],
)
def test_what_proves_nothing_is_lost_history(timeline: int, version: int, there: Slot | None, words: str) -> None:
    with pytest.raises(HistoryLost, match=words):
        Failover.between(Identity("77", timeline, "shop", 0x100, version), there, SOURCE, state())


def test_a_timeline_before_the_log_s_is_lost_history() -> None:
    known = state()
    known.genesis["timeline"] = 3
    with pytest.raises(HistoryLost, match="before a failover"):
        Failover.between(Identity("77", 2, "shop", 0x100, 180000), slot(synced=True), SOURCE, known)
