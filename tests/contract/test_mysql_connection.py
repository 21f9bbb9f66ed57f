"""How MySQL and MariaDB are reached: by TLS that proves who they are, with any password, within limits; and what is said where not."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from commitlog.cdc.servers.binlog import BinlogServer
from commitlog.cdc.servers.mysqld import QUICK, LocalMysqld
from commitlog.cdc.tail import mysql_connection
from commitlog.cdc.tail.mysql_connection import ERRORS, connect, parse_version
from commitlog.schemas.errors import CommitLogError, Refused, Unreachable
from fixtures.mysql import ENGINES, make_user
from fixtures.tls import Authority

PASSWORD = "g€heim'\"\\ @:/?#[]%&=+"


class Tls:
    """A server with a certificate for `localhost`, and of whom.

    Attributes:
        server: It.
        authority: Who signed.
        stranger: Somebody else.
    """

    def __init__(self, server: LocalMysqld, folder: Path) -> None:
        self.server = server
        self.authority, self.stranger = Authority(folder), Authority(folder, "stranger")
        pem = server.files / "server.pem"
        pem.write_text(self.authority.certificate("localhost").read_text())
        pem.chmod(0o644)
        server.restart(settings={"ssl-cert": str(pem), "ssl-key": str(pem)})

    def url(self, mode: str, *, host: str = "localhost", root: Path | None = None) -> str:
        """Root's, by TLS as `mode` says."""
        parts = urlsplit(self.server.url)
        user = parts.netloc.rpartition("@")[0]
        ca = f"&ssl-ca={root}" if root else ""
        return f"{parts.scheme}://{user}@{host}:{parts.port}/?ssl-mode={mode}{ca}"


@pytest.fixture(scope="module", params=ENGINES)
def tls(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tls]:
    with ENGINES[request.param].start(settings=QUICK) as server:
        yield Tls(server, tmp_path_factory.mktemp("tls"))


def cipher(url: str) -> str:
    connection = connect(url)
    try:
        ((_, name),) = connection.rows("SHOW SESSION STATUS LIKE 'Ssl_cipher'")
        assert connection.encrypted == bool(name)
        return str(name)
    finally:
        connection.close()


def refused(url: str) -> Refused:
    with pytest.raises(Refused) as caught:
        connect(url)
    return caught.value


def test_each_ssl_mode_is_what_it_says(tls: Tls) -> None:
    root = tls.authority.root
    assert cipher(tls.url("disabled")) == ""
    assert cipher(tls.url("required"))
    assert cipher(tls.url("verify_ca", host="127.0.0.1", root=root))
    assert cipher(tls.url("verify_identity", root=root))


def test_a_server_that_does_not_prove_who_it_is_is_refused(tls: Tls) -> None:
    for mode in ("verify_ca", "verify_identity"):
        for root in (None, tls.stranger.root):
            error = refused(tls.url(mode, root=root))
            assert "the source may be another one: its certificate is not accepted" in str(error)
            assert "ssl-ca=FILE" in error.hint
    error = refused(tls.url("verify_identity", host="127.0.0.1", root=tls.authority.root))
    assert "a host name into [source] url that the certificate has" in error.hint
    assert "there is no file /none.pem" in str(refused(tls.url("verify_ca", root=Path("/none.pem"))))


def test_a_user_who_must_be_encrypted_is_told_how(tls: Tls) -> None:
    url = make_user(tls.server)
    tls.server.query(f"ALTER USER '{urlsplit(url).username}' REQUIRE SSL")

    with pytest.raises(Unreachable, match="Access denied") as caught:
        connect(f"{url}?ssl-mode=disabled")
    assert "ssl-mode=required" in caught.value.hint
    assert cipher(f"{url}?ssl-mode=required")


def test_a_server_without_tls_is_refused_where_tls_is_asked_for(mariadb_server: BinlogServer) -> None:
    error = refused(f"{mariadb_server.url}?ssl-mode=required")

    assert "the source does not speak TLS" in str(error)
    assert "ssl-mode=disabled" in error.hint


@pytest.mark.parametrize("mode", ["disabled", "required"])
def test_caching_sha2_password_goes_both_ways(mysql_server: BinlogServer, mode: str) -> None:
    url = f"{make_user(mysql_server, plugin='caching_sha2_password')}?ssl-mode={mode}"

    # The first time the server has nothing in its cache, and wants the password itself.
    assert [bool(cipher(url)) for _ in range(2)] == [mode == "required"] * 2


def test_a_password_may_have_any_sign(either_server: BinlogServer) -> None:
    name = urlsplit(make_user(either_server)).username or ""
    either_server.query(f"ALTER USER '{name}' IDENTIFIED BY %s", PASSWORD)
    url = either_server.user_url(name, PASSWORD)

    assert connect(url).rows("SELECT 1") == [(1,)]
    with pytest.raises(Unreachable, match="Access denied") as caught:
        connect(either_server.user_url(name, PASSWORD + "x"))
    told = "".join([str(caught.value), caught.value.hint, repr(caught.value.__cause__)])
    assert not any(part in told for part in ("heim", quote("€")))


def test_a_server_of_the_other_flavour_is_named(either_server: BinlogServer) -> None:
    other = {"mysql": "mariadb", "mariadb": "mysql"}[either_server.product]
    error = refused(either_server.url.replace(f"{either_server.product}://", f"{other}://"))

    assert error.hint == f"write {either_server.product}:// into [source] url"


def test_texts_are_the_same_whatever_the_server_is_set_to(tls: Tls) -> None:
    settings = {
        "time_zone": "'+05:00'",
        "sql_mode": "'ANSI_QUOTES,PAD_CHAR_TO_FULL_LENGTH'",
        "character_set_server": "latin1",
    }
    before = {name: tls.server.query(f"SELECT @@GLOBAL.{name}") for name in settings}
    for name, value in settings.items():
        tls.server.query(f"SET GLOBAL {name} = {value}")
    try:
        connection = connect(tls.url("disabled"), raw=True)
        query = "SELECT TIMESTAMP(FROM_UNIXTIME(0)), \"t\", CAST(1.50 AS DECIMAL(5,2)), 'ä€𝄞', CAST(CONVERT('ä' USING latin1) AS BINARY)"
        row = ("1970-01-01 00:00:00", "t", "1.50", "ä€𝄞", "")
        assert connection.rows(query) == [(*(text.encode() for text in row[:4]), b"\xe4")]
        connection.close()
    finally:
        for name, value in before.items():
            tls.server.query(f"SET GLOBAL {name} = %s", value)


def test_an_answer_that_does_not_come_is_not_waited_for(either_server: BinlogServer) -> None:
    connection, began = connect(either_server.url, patience_s=0.5), time.monotonic()

    with pytest.raises(ERRORS):
        connection.rows("SELECT SLEEP(40)")

    assert time.monotonic() - began < 30
    assert not connection.open


@pytest.mark.parametrize("greeting", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x05\0\0\0\x0a8.4", b"\xff" * 64])
def test_what_is_no_server_is_given_up_in_time(greeting: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mysql_connection, "CONNECT_TIMEOUT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken: list[socket.socket] = []

        def answer() -> None:
            taken.append(listener.accept()[0])
            taken[0].sendall(greeting)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(CommitLogError, match="cannot be reached"):
            connect(f"mysql://u:geheim@127.0.0.1:{listener.getsockname()[1]}/d")
        thread.join(10)
        taken[0].close()


def test_where_nobody_listens_the_source_cannot_be_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(Unreachable, match="refused"):
        connect(f"mysql://u:geheim@127.0.0.1:{port}/d")


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("8.4.3", (8, 4, 3)),
        ("10.11.18-MariaDB-0+deb12u1-log", (10, 11, 18)),
        ("9.7.4-2", (9, 7, 4)),
        ("11", (11, 0, 0)),
    ],
)
def test_a_version_is_read(text: str, version: tuple[int, int, int]) -> None:
    assert parse_version(text) == version
