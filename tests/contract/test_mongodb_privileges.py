"""What the worker's user of a MongoDB may do is what `setup --role` grants, and each privilege that it lacks is named."""

import json
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from pymongo.errors import OperationFailure

from commitlog.cdc.database_url import with_password
from commitlog.cdc.servers.mongodb import MongoServer
from commitlog.cdc.source.mongodb.grants import Need, lacking, worker_needs
from commitlog.cdc.source.mongodb.shell import read_shell
from commitlog.cdc.tail.mongodb_catalog import Catalog
from commitlog.cdc.tail.mongodb_connection import connect
from commitlog.cdc.tail.oplog.stamps import STAMPS
from fixtures.command import command
from fixtures.oplog_source import OplogSource

NEEDS = worker_needs("shop", [("shop", "orders")])


class Shop:
    """A database that is set up, and a folder with its configuration."""

    def __init__(self, server: MongoServer, folder: Path, url: str) -> None:
        self.server, self.folder, self.url = server, folder, url
        self.name = urlsplit(url).path.strip("/")
        self.secrets = [urlsplit(url).password or ""]
        with server.client() as client:
            client[self.name]["orders"].insert_one({"_id": 1})
            client[self.name]["others"].insert_one({"_id": 1})
        self.commitlog("init", url, "--name", "shop")
        schema = folder / "schemas" / "shop.yaml"
        schema.write_text(schema.read_text(encoding="utf-8").partition("  others:")[0], encoding="utf-8")
        self.commitlog("setup")
        self.needs = worker_needs(self.name, [(self.name, "orders")])

    def commitlog(self, *arguments: str, code: int = 0) -> CompletedProcess[str]:
        done = command(*arguments, folder=self.folder, environment=dict(os.environ))
        for secret in self.secrets:
            assert secret not in done.stdout + done.stderr
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def errors(self, url: str, *, code: int) -> dict[str, str]:
        """What doctor calls an error, each with what to do."""
        found = [
            json.loads(line)
            for line in self.commitlog("doctor", "--json", "--source", url, code=code).stdout.splitlines()
        ]
        return {one["what"]: one["hint"] for one in found if one["level"] == "error"}


@pytest.fixture
def shop(mongodb: MongoServer, mongodb_database: str, tmp_path: Path) -> Shop:
    return Shop(mongodb, tmp_path, mongodb_database)


@pytest.mark.parametrize("number", range(len(NEEDS)), ids=[need.what.replace("may not ", "") for need in NEEDS])
def test_each_privilege_that_is_missing_is_named_and_granted_by_setup(
    shop: Shop, number: int, new_mongodb_user: Callable[..., str]
) -> None:
    lacked = shop.needs[number]
    others = [need.privilege for need in shop.needs if need is not lacked]
    url = new_mongodb_user(shop.server, *others, database=shop.name)
    shop.secrets.append(urlsplit(url).password or "")
    user = urlsplit(url).username or ""

    found = shop.errors(url, code=4)

    assert found == {f"user {user} {lacked.what}": f"as an administrator: commitlog setup --role {user}"}
    shop.commitlog("setup", "--role", user)
    assert shop.errors(url, code=1) == {}  # "others" is in no app schema
    with connect(url) as client, pytest.raises(OperationFailure, match="not authorized"):
        client[shop.name]["others"].find_one()


def test_what_is_granted_is_what_is_needed_and_no_more(shop: Shop) -> None:
    role = f"r_{secrets.token_hex(4)}"
    printed = shop.commitlog("setup", "--sql", "--role", role).stdout
    (line,) = (line for line in printed.splitlines() if "createRole" in line)
    database, granted = read_shell(line.removesuffix(";"))
    assert database == "admin"
    assert granted["privileges"] == [need.privilege for need in shop.needs]
    assert granted["roles"] == []
    assert all(set(privilege["actions"]) <= {"find", "listCollections"} for privilege in granted["privileges"])
    assert {privilege["resource"]["db"] for privilege in granted["privileges"]} == {
        "local",
        "config",
        "commitlog",
        shop.name,
    }


ROLES = (
    "read readWrite dbOwner readAnyDatabase readWriteAnyDatabase dbAdminAnyDatabase clusterMonitor backup root".split()
)


@pytest.fixture(scope="module")
def probed(mongodb: MongoServer) -> Iterator[str]:
    """A database whose collections are found in all the places that are asked for."""
    name = f"probed_{secrets.token_hex(4)}"
    with mongodb.client() as client:
        client[name]["orders"].insert_one({"_id": 1})
    yield name
    mongodb.drop_database(name)


@pytest.mark.parametrize("role", ROLES)
def test_a_privilege_is_held_as_the_server_decides_it(
    mongodb: MongoServer, probed: str, role: str, new_mongodb_user: Callable[..., str]
) -> None:
    """Built-in roles have privileges on all databases, on patterns of names and on anything: who holds what is compared with who may."""
    database = probed if role in ("read", "readWrite", "dbOwner") else "admin"
    url = new_mongodb_user(mongodb, roles=[{"role": role, "db": database}], database=probed)
    needs = worker_needs(probed, [(probed, "orders")])
    catalog = Catalog(url)
    try:
        lacks = list(lacking(needs, catalog.privileges()))
        assert [need for need in needs if not _may(catalog, need)] == lacks
    finally:
        catalog.close()


def _may(catalog: Catalog, need: Need) -> bool:
    commands: dict[str, dict[str, Any]] = {
        "find": {"find": need.collection, "limit": 1},
        "listCollections": {"listCollections": 1, "nameOnly": False},
    }
    (action,) = need.actions
    try:
        catalog.client[need.database].command(commands[action])
    except OperationFailure as exc:
        if exc.code != 13:
            raise
        return False
    return True


def test_a_login_that_is_refused_shows_no_password(shop: Shop) -> None:
    shop.secrets.append("geheim%2Fer")
    shop.secrets.append("geheim/er")
    parts = urlsplit(shop.url)
    wrong = parts._replace(netloc=f"nobody:{quote('geheim/er', safe='')}@{parts.netloc.rpartition('@')[2]}").geturl()
    for arguments in (("doctor",), ("setup",), ("teardown", "--yes"), ("schema", "draft")):
        refusal = shop.commitlog(*arguments, "--source", wrong, code=5).stderr
        assert "refuses the login of nobody" in refusal
        assert "check user and password" in refusal
    assert (
        "not compared with the database"
        in shop.commitlog("schema", "check", "schemas/shop.yaml", "--source", wrong).stderr
    )
    assert "refuses the login of nobody" in shop.commitlog("status", "--source", wrong, code=5).stdout


@pytest.mark.timeout(120)
def test_a_worker_runs_with_the_grants_of_setup_and_each_that_is_missing_is_named(oplog_source: OplogSource) -> None:
    source, role, password = oplog_source, f"r_{secrets.token_hex(4)}", secrets.token_hex(8)
    source.db.orders.insert_one({"_id": 1, "status": "new"})
    source.map("Order", "orders", fields=("_id", "status"))
    source.commitlog("setup", "--role", role)
    admin = source.client.admin
    admin.command("createUser", role, pwd=password, roles=[role])
    source.db.orders.update_one({"_id": 1}, {"$set": {"status": "old"}})
    try:
        source.configure(with_password(source.url.replace("://root", f"://{role}"), password))
        for need in worker_needs(source.database, [(source.database, "orders")]):
            if need.collection == STAMPS[1]:
                continue  # doctor looks for them, the worker reads the oplog
            admin.command("revokePrivilegesFromRole", role, privileges=[need.privilege])

            run = source.run()

            hint = run.refused(4, "not authorized")
            assert hint == f"commitlog setup --role {role}"
            assert password not in run.output
            source.configure(source.url)
            source.commitlog("setup", "--role", role)
            source.configure(with_password(source.url.replace("://root", f"://{role}"), password))
        run = source.run()
        run.until_caught_up()
        run.terminate()
        source.check()
        assert password not in run.output
    finally:
        source.configure(source.url)
        admin.command("dropUser", role)
        admin.command("dropRole", role)
