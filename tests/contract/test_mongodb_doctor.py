"""`doctor` of a MongoDB: what keeps a guarantee from holding is said with what to do about it, and what it says is so."""

import json
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any
from urllib.parse import urlsplit

import pytest

from commitlog.cdc import json_schema
from commitlog.cdc.config import load
from commitlog.cdc.doctor.mongodb import _window
from commitlog.cdc.doctor.standing import look_at_source
from commitlog.cdc.log.state import LogState
from commitlog.cdc.servers.mongod import Mongod, MongodSet
from commitlog.cdc.source.mongodb.checks import check_version
from commitlog.cdc.source.mongodb.history import check_identity, check_log
from commitlog.cdc.tail.mongodb_catalog import Catalog, Identity, OplogBounds
from commitlog.schemas.errors import HistoryLost, Refused, Unreachable
from commitlog.schemas.position import format_oplog, parse_oplog
from fixtures.command import Commands, command, only
from fixtures.mongos import mongos
from fixtures.patience import until


@pytest.fixture(scope="module")
def server() -> Iterator[MongodSet]:
    """A server for these tests alone, which change its settings."""
    with MongodSet.start() as started:
        yield started


class Shop(Commands):
    """A database with a collection, set up, and a folder with its configuration, of a user who may do what the worker needs."""

    def __init__(self, server: MongodSet, folder: Path) -> None:
        self.server, self.name = server, f"shop_{secrets.token_hex(4)}"
        super().__init__(folder, server.database_url(self.name))
        self.catalog = Catalog(self.url)
        self.client = self.catalog.client
        self.client[self.name]["orders"].insert_one({"_id": 1, "status": "new"})
        self.commitlog("init", self.url, "--name", "shop")
        role, password = f"w_{secrets.token_hex(4)}", secrets.token_hex(8)
        self.commitlog("setup", "--role", role)
        server.command("createUser", role, pwd=password, roles=[role])
        self.role = server.user_url(role, password, self.name)

    def admin(self, **command: Any) -> dict[str, Any]:
        return dict(self.client.admin.command(command))

    def close(self) -> None:
        self.catalog.close()
        self.server.drop_database(self.name)


@pytest.fixture
def shop(server: MongodSet, tmp_path: Path) -> Iterator[Shop]:
    made = Shop(server, tmp_path)
    yield made
    made.close()


def followed(shop: Shop, hint: str) -> None:
    """Do what a hint for mongosh says."""
    (said,) = re.findall(r"db\.adminCommand\((\{.*\})\)", hint)
    shop.client.admin.command(json.loads(re.sub(r"(\w+):", r'"\1":', said)))


def test_a_server_that_is_set_up_and_a_user_who_may_do_no_more_are_well(shop: Shop) -> None:
    assert shop.doctor(code=0) == {}
    assert (
        "not looked at, for the server does not tell this user: featureCompatibilityVersion"
        in shop.commitlog("doctor", "--source", shop.role).stdout
    )
    (said,) = shop.doctor(code=1, url=shop.url)
    assert "may do more than read" in said
    assert "not looked at" not in shop.commitlog("doctor", code=1).stdout


def test_images_that_are_off_are_told(shop: Shop) -> None:
    off = {"changeStreamPreAndPostImages": {"enabled": False}}
    shop.client[shop.name].command({"collMod": "orders", **off})
    assert only(shop.doctor(code=4), "orders: the server does not keep what its documents were") == "commitlog setup"
    shop.commitlog("setup")
    assert shop.doctor(code=0) == {}


def test_what_is_mapped_and_not_there_and_what_is_there_and_not_mapped_is_told(shop: Shop) -> None:
    shop.client[shop.name]["orders"].rename("sales")
    found = shop.doctor(code=1)
    assert only(found, f"collection {shop.name}.sales is in no app schema") == "commitlog schema draft"
    assert "commitlog setup" in only(found, f"collection {shop.name}.orders of orders does not exist")


@pytest.mark.parametrize(
    ("change", "back", "words"),
    [
        (
            {"setDefaultRWConcern": 1, "defaultWriteConcern": {"w": 1}},
            {"setDefaultRWConcern": 1, "defaultWriteConcern": {"w": "majority"}},
            "warning: the default write concern is w: 1: what the app was told is done may be taken back",
        ),
        (
            {"setClusterParameter": {"changeStreamOptions": {"preAndPostImages": {"expireAfterSeconds": 3600}}}},
            {"setClusterParameter": {"changeStreamOptions": {"preAndPostImages": {"expireAfterSeconds": "off"}}}},
            "warning: what documents were before a change is kept for 1.0 hours",
        ),
        (
            {"setFeatureCompatibilityVersion": "5.0"},
            {"setFeatureCompatibilityVersion": "6.0"},
            "error: featureCompatibilityVersion is 5.0",
        ),
    ],
    ids=["write concern", "expiry", "compatibility"],
)
def test_a_setting_that_weakens_a_guarantee_is_told(
    shop: Shop, change: dict[str, Any], back: dict[str, Any], words: str
) -> None:
    if "setFeatureCompatibilityVersion" in change:
        # The server refuses it while a collection keeps images.
        off = {"changeStreamPreAndPostImages": {"enabled": False}}
        shop.client[shop.name].command({"collMod": "orders", **off})
    try:
        shop.client.admin.command(change)
        followed(shop, only(shop.doctor(code=4 if "error" in words else 1, url=shop.url), words))
        assert words not in "".join(shop.doctor(code=4 if "error" in words else 1, url=shop.url))
    finally:
        shop.client.admin.command(back)


def test_an_oplog_that_does_not_go_far_back_is_told(shop: Shop) -> None:
    assert "where the set was made" in shop.commitlog("doctor", "--source", shop.role).stdout

    bounds = OplogBounds(first=1_795_383_766 << 32 | 1, last=(1_795_383_766 + 7_200) << 32)
    told = _window(bounds, begun=False)

    assert told.level == "warning"
    assert "goes back 2.0 hours, to 1795383766.1: without a worker for longer, history is lost" in told.what
    followed(shop, told.hint)
    assert _window(OplogBounds(bounds.first, bounds.last + (72 * 3600 << 32)), begun=False).level == "ok"


def test_a_server_without_logins_is_told(tmp_path: Path) -> None:
    with MongodSet.start(auth=False) as server, server.client() as client:
        client["shop"]["orders"].insert_one({"_id": 1})
        url = server.database_url("shop")
        for arguments in (("init", url), ("setup",)):
            assert command(*arguments, folder=tmp_path, environment=dict(os.environ)).returncode == 0
        done = command("doctor", folder=tmp_path, environment=dict(os.environ))
        assert "nobody logs in to the source" in done.stdout
        assert done.returncode == 1


def test_a_standalone_server_is_refused_by_name(tmp_path: Path) -> None:
    with MongodSet.start(auth=False) as server:
        (member,) = server.members
        member.stop()
        member._options.pop("replSet")  # pyright: ignore
        member.restart()
        url = f"mongodb://{member.address}/shop"
        done = command("init", url, folder=tmp_path, environment=dict(os.environ))
        assert "is a MongoDB that is no replica set, and so has no log to read" in done.stderr
        assert done.returncode == 4
        for name in ("doctor", "setup", "teardown"):
            done = command(name, folder=tmp_path, environment=dict(os.environ))
            assert "is no replica set" in done.stderr
            assert "start mongod with --replSet NAME" in done.stderr
            assert done.returncode == 4


def test_a_sharded_cluster_is_refused_by_name(tmp_path: Path) -> None:
    with mongos() as address:
        done = command("init", f"mongodb://{address}/shop", folder=tmp_path, environment=dict(os.environ))
        told = [done, *(command(name, folder=tmp_path, environment=dict(os.environ)) for name in ("setup", "run"))]
    for done in told:
        assert "is a sharded cluster (mongos), whose oplogs nobody can read as one" in done.stderr
        assert "name the members of one replica set" in done.stderr
        assert done.returncode == 4


def identity(**changes: Any) -> Identity:
    return Identity(
        **{
            "replica_set": "a" * 24,
            "name": "rs0",
            "version": (6, 0, 5),
            "database": "shop",
            "member": "a:1",
            "primary": "a:1",
            "members": ("a:1",),
            **changes,
        }
    )


def test_a_server_that_is_too_old_is_refused() -> None:
    with pytest.raises(Refused, match=r"version 5\.0\.9; 6\.0 is the first"):
        check_version(identity(version=(5, 0, 9)))
    check_version(identity())


def test_another_replica_set_is_lost_history() -> None:
    state = LogState(genesis={"replica_set": "a" * 24, "database": "shop"})
    check_identity(identity(), state)
    with pytest.raises(HistoryLost, match="the source is another one: replica set b"):
        check_identity(identity(replica_set="b" * 24), state)
    with pytest.raises(HistoryLost, match="another kind of database"):
        check_identity(identity(), LogState(genesis={"gtids": ""}))


def test_each_way_of_losing_the_place_in_the_oplog_has_its_name(shop: Shop) -> None:
    bounds = shop.catalog.oplog_bounds()

    def at(position: int) -> LogState:
        return LogState(genesis={"replica_set": "x"}, position=format_oplog(position))

    check_log(shop.catalog, at(bounds.last))
    with pytest.raises(HistoryLost, match="after the log's position"):
        check_log(shop.catalog, at(bounds.first - 1))
    with pytest.raises(Unreachable, match="before the log's position"):
        check_log(shop.catalog, at(bounds.last + (1 << 40)))
    between = bounds.first + (1 << 31)
    with pytest.raises(HistoryLost, match="history is another one: its oplog has no entry at"):
        check_log(shop.catalog, at(between))
    assert parse_oplog(format_oplog(between)) == between


@pytest.mark.full
def test_a_secondary_that_answers_is_told_and_takes_no_setup(own_mongodb_set: MongodSet, tmp_path: Path) -> None:
    with own_mongodb_set.client() as client:
        client["shop"].get_collection("orders").insert_one({"_id": 1})

    def run(*arguments: str) -> CompletedProcess[str]:
        return command(*arguments, folder=tmp_path, environment=dict(os.environ))

    assert run("init", own_mongodb_set.database_url("shop")).returncode == 0
    assert run("setup").returncode == 0
    primary = own_mongodb_set.primary
    secondary: Mongod = next(member for member in own_mongodb_set.members if member is not primary)
    parts = urlsplit(own_mongodb_set.database_url("shop"))
    user = parts.netloc.rpartition("@")[0]
    direct = f"mongodb://{user}@{secondary.address}/shop?directConnection=true&authSource=admin"

    told = f"{secondary.address} answers, which is a secondary"
    # It may not have come to the user yet.
    until(lambda: told in run("doctor", "--source", direct).stdout, "a secondary that answers")
    refused = run("setup", "--source", direct)

    assert "is not the primary of rs0" in refused.stderr
    assert refused.returncode == 4


def test_status_tells_from_where_to_where_the_oplog_goes_and_what_is_missing(shop: Shop) -> None:
    shop.client[shop.name]["orders"].rename("sales")
    bounds = shop.catalog.oplog_bounds()

    found = json.loads(shop.commitlog("status", "--json").stdout)
    shown = shop.commitlog("status").stdout

    assert json_schema.problems(found, json_schema.read("status")) == []
    assert found["source"]["oldest"] == format_oplog(bounds.first)
    assert parse_oplog(found["source"]["wal_end"]) >= bounds.last
    assert found["source"]["missing"] == [f"collection {shop.name}.orders of orders does not exist"]
    assert f", to {format_oplog(bounds.first)}" in shown
    behind = look_at_source(load(shop.folder / "commitlog.toml"), format_oplog(bounds.last - (5 << 32)))
    assert behind.lag_s is not None
    assert behind.lag_s >= 5
