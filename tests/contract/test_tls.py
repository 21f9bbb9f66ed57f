"""Off this machine every server proves who it is, to the worker, to commands and to forks alike; whoever does not is refused by name."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from commitlog.cdc.fork.postgres.target import Target
from commitlog.cdc.servers.local import PostgresServer
from commitlog.cdc.tail import connection, postgres
from commitlog.schemas.errors import Refused
from fixtures.load import open_shop
from fixtures.tls import HOST, Authority, TlsProxy
from fixtures.worker import Source

NewProxy = Callable[..., TlsProxy]

WAYS = [
    pytest.param(connection.connect, "[source] url", id="commands"),
    pytest.param(postgres.connect, "[source] url", id="stream"),
    pytest.param(Target, "--into", id="fork"),
]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No certificates of the one who runs the tests."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("PGSSLMODE", "PGSSLROOTCERT"):
        monkeypatch.delenv(name, raising=False)


def refused(reach: Callable[[str], object], url: str, *words: str) -> str:
    """The `try:` of a refusal that says these words."""
    with pytest.raises(Refused) as caught:
        reach(url)
    for word in words:
        assert word in str(caught.value)
    return caught.value.hint


@pytest.mark.parametrize(("reach", "where"), WAYS)
def test_every_way_to_a_server_is_verified(
    reach: Callable[[str], object], where: str, database: str, tls: NewProxy, authority: Authority, tmp_path: Path
) -> None:
    right, root = tls(database).url, f"&sslrootcert={authority.root}"
    other = Authority(tmp_path, "other")

    reach(right + root).close()  # type: ignore[attr-defined] # each is a connection

    hint = refused(
        reach, f"{right}&sslrootcert={other.root}", "certificate is not accepted", "unable to get local issuer"
    )
    assert hint.startswith("add sslrootcert=FILE")
    assert where in hint
    elsewhere = tls(database, authority.certificate("elsewhere.example.test")).url + root
    assert "host name" in refused(reach, elsewhere, "elsewhere.example.test", f'does not match host name "{HOST}"')
    expired = tls(database, authority.certificate(days=-1)).url + root
    assert refused(reach, expired, "certificate has expired") == "renew it on the server"
    assert "sslmode=disable" in refused(reach, tls(database, None).url + root, "does not speak TLS")
    assert "sslrootcert=FILE" in refused(reach, right, "cannot be told from another one", "root.crt")
    # Not encrypted: the server that cannot would see the password otherwise.
    reach(tls(database, None).url + "&sslmode=disable").close()  # type: ignore[attr-defined]


def test_the_worker_and_its_fork_work_over_tls_and_end_when_the_server_is_not_the_one(
    source: Source, new_database: Callable[[], str], tls: NewProxy, authority: Authority, tmp_path: Path
) -> None:
    open_shop(source)
    root = f"&sslrootcert={authority.root}"
    source.configure(tls(source.url).url + root)
    run = source.run()
    source.execute("INSERT INTO orders VALUES (1, 'over TLS', 1)")
    run.until_caught_up()
    run.terminate()
    source.check()
    assert "the way to the source" not in source.commitlog("doctor", code=1).stdout
    target = tls(new_database()).url
    source.commitlog("fork", f"file:log#{source.name}", "--into", target + root, "--yes", "--once")

    other = Authority(tmp_path, "other")
    source.configure(f"{tls(source.url).url}&sslrootcert={other.root}")
    assert "sslrootcert" in source.run().refused(4, "the source may be another one")
    assert "the source may be another one" in source.commitlog("doctor", code=4).stderr
    fork = source.commitlog("fork", "status", "--into", f"{target}&sslrootcert={other.root}", code=4)
    assert "the fork's database may be another one" in fork.stderr

    source.configure(tls(source.url, None).url + "&sslmode=disable")
    assert "everything goes over the net in clear" in source.commitlog("doctor", code=1).stdout


@pytest.mark.full
def test_a_server_that_speaks_tls_itself_is_verified(tmp_path: Path) -> None:
    """PostgreSQL 17's wheel has TLS built in, that of 18 has not."""
    authority = Authority(tmp_path)
    with PostgresServer.start(version="17", settings={"fsync": "off"}) as server:
        pem = authority.certificate().read_text()
        for name in ("server.crt", "server.key"):
            file = server.folder / name
            file.write_text(pem)
            owner = server.folder.stat()
            file.chmod(0o600)
            if file.stat().st_uid != owner.st_uid:
                os.chown(file, owner.st_uid, owner.st_gid)
        server.configure(ssl="on")
        server.reload()
        url = server.url.replace("127.0.0.1", HOST) + "?hostaddr=127.0.0.1"

        with connection.connect(f"{url}&sslrootcert={authority.root}") as opened:
            assert opened.pgconn.ssl_in_use
        refused(connection.connect, f"{url}&sslrootcert={Authority(tmp_path, 'other').root}", "is not accepted")
