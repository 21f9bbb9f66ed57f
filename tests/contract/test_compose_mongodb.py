"""The MongoDB of compose/: its settings, certificates, users and privileges, on a real server of this machine."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner
from pymongo import errors

from commitlog.cdc.cli import doctor, setup
from commitlog.cdc.servers.mongod import MongodSet, Tls
from commitlog.cdc.servers.mongod_programs import NOT_HERE
from commitlog.cdc.servers.mongodb import connect
from commitlog.cdc.servers.scratch import Scratch
from fixtures.composed import COMPOSE, Composed, services
from fixtures.elsewhere import here_or_skipped

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def composed() -> Iterator[Composed]:
    scratch = Scratch("commitlog-compose-", parent="/tmp")
    scratch.folder.chmod(0o755)
    yield Composed(scratch.folder)
    scratch.remove()


@pytest.fixture(scope="module")
def server(composed: Composed) -> Iterator[MongodSet]:
    own = composed.folder / "mongodb"
    tls = Tls(own / "mongodb.pem", own / "ca.crt", own / "mongodb.pem")
    start = here_or_skipped(lambda: MongodSet.start(tls=tls, settings=composed.mongodb_settings()), NOT_HERE)
    with start as server:
        composed.run_mongodb_users(server)
        yield server


def test_doctor_and_setup_find_nothing_amiss(
    composed: Composed, server: MongodSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(composed.mongodb_worker_folder(server))
    found = CliRunner().invoke(doctor.command, ["--json"])
    levels = {json.loads(line)["level"] for line in found.stdout.splitlines()}
    assert levels == {"ok"}, found.stdout + found.stderr
    root = urlsplit(server.url)._replace(path="/shop").geturl()
    printed = CliRunner().invoke(setup.command, ["--sql", "--role", "CN=commitlog@$external", "--source", root])
    assert printed.stdout == "nothing to do: the source is ready\n", printed.output


def test_the_worker_reads_what_it_needs_and_may_do_nothing_else(composed: Composed, server: MongodSet) -> None:
    with connect(composed.mongodb_url(server, "commitlog", "worker")) as client:
        assert client["local"]["oplog.rs"].find_one()
        client["config"]["system.preimages"].find_one()
        client["shop"]["orders"].find_one()
        for write in (client["shop"]["orders"].insert_one, client["commitlog"]["stamps"].insert_one):
            with pytest.raises(errors.OperationFailure, match="not authorized"):
                write({})
        with pytest.raises(errors.OperationFailure, match="not authorized"):
            client["shop"]["others"].find_one()


def test_the_app_writes_its_documents_and_its_stamps_and_reads_no_oplog(composed: Composed, server: MongodSet) -> None:
    with connect(composed.mongodb_url(server, "shop", "app")) as client:
        client["shop"]["orders"].insert_one({"customer_id": 7})
        client["commitlog"]["stamps"].replace_one({"_id": 1}, {"ctx": "{}"}, upsert=True)
        with pytest.raises(errors.OperationFailure, match="not authorized"):
            client["commitlog"]["stamps"].drop()
        with pytest.raises(errors.OperationFailure, match="not authorized"):
            client["local"]["oplog.rs"].find_one()


def test_who_shows_no_certificate_or_anothers_is_let_in_nowhere(composed: Composed, server: MongodSet) -> None:
    url = composed.mongodb_url(server, "commitlog", "worker")
    swapped = composed.mongodb_url(server, "shop", "app").replace("CN%3Dshop@", "CN%3Dcommitlog@")
    bare = re.sub("&tlsCertificateKeyFile=[^&]*", "", url)
    clear = "mongodb://" + url.partition("@")[2].partition("?")[0] + "?replicaSet=rs0"
    for wrong in (swapped, bare, clear):
        with (
            connect(wrong, serverSelectionTimeoutMS=1000) as client,
            pytest.raises((errors.OperationFailure, errors.ConnectionFailure)),
        ):
            client["shop"]["orders"].find_one()


def test_the_script_makes_the_set_whose_name_the_server_has() -> None:
    script = (COMPOSE / "mongodb" / "replica-set.js").read_text()
    (name,) = re.findall(r'"replSetInitiate": \{"_id": "(\w+)"', script)
    assert f"--replSet={name}" in services()["mongodb"]["command"]
    assert services()["mongodb-users"]["network_mode"] == "service:mongodb"
    for mounted in re.findall(r"/etc/commitlog/([\w.-]+)", " ".join(services()["mongodb-users"]["command"])):
        assert Path(COMPOSE, "mongodb", mounted).is_file()
