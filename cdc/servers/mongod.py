"""A MongoDB of our own on this machine: a replica set in a folder, started, stopped or killed, and removed without a trace.

It listens on the loopback only, behind a password of its own. It ends when the process that started it ends, even
by SIGKILL (its folder then stays until the next one is made), unless it is told to outlive it.
"""

import secrets
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Self
from urllib.parse import quote, urlencode

from pymongo.errors import PyMongoError

from .account import Account
from .mongod_programs import failed, find_mongod
from .mongodb import MongoServer, connect
from .ports import HOST
from .process import SingleProcess, StopMode, folder_for
from .scratch import Scratch

SET = "rs0"
"""The name of every replica set of ours."""

_START_TIMEOUT_S = 60.0  # recovery included
_POLL_S = 0.01
_READY = '"id":23016,'  # "Waiting for connections"
COMMON: Mapping[str, str] = {
    "nounixsocket": "",
    # Small servers, of which several fit beside what is tested.
    "wiredTigerCacheSizeGB": "0.25",
    "wiredTigerEngineConfigString": "log=(file_max=16MB,prealloc=false)",
    "oplogSize": "256",
}
"""Options of every server of ours."""
PARAMETERS: Mapping[str, str] = {
    "diagnosticDataCollectionEnabled": "false",
    # failCommand, and whatever else makes a server fail on purpose.
    "enableTestCommands": "1",
    "scramSHA256IterationCount": "5000",
}
"""And its parameters (--setParameter)."""
# Members that are gone are missed in a second and a half, and not in ten.
_IMPATIENT = {"electionTimeoutMillis": 1500, "heartbeatIntervalMillis": 250, "heartbeatTimeoutSecs": 2}


@dataclass(frozen=True, slots=True)
class Tls:
    """How a server proves who it is; it then takes encrypted connections only.

    Args:
        certificate: A PEM file for `localhost`, with its key.
        authority: The certificate of who signed it.
        client: A PEM file that clients show; None where they need show none.
    """

    certificate: Path
    authority: Path
    client: Path | None = None


class Mongod(SingleProcess):
    """One member of a set.

    Attributes:
        address: HOST:PORT; the same after a restart.
        folder: The data folder.
    """

    def __init__(self, home: Path, options: Mapping[str, str], parameters: Mapping[str, str], *, outlive: bool) -> None:
        super().__init__(home, None, outlive=outlive)
        self.folder = home / "data"
        self.address = ""
        self._host = "localhost" if "tlsMode" in options else HOST
        self._options, self._parameters = dict(options), dict(parameters)

    def restart(
        self,
        mode: StopMode = "fast",
        *,
        settings: Mapping[str, str] | None = None,
        parameters: Mapping[str, str] | None = None,
    ) -> None:
        """Stop it if it runs, and start it again on the same data and port; it may not be a primary or secondary yet.

        Args:
            mode: As of `stop`.
            settings: Options to change; they hold from now on.
            parameters: And parameters.

        Raises:
            ServerFailed: As `stop`, or it does not come up.
        """
        if self.running:
            self.stop(mode)
        self._options |= settings or {}
        self._parameters |= parameters or {}
        self._run_server()

    def start_on_free_port(self) -> None:
        """Start on no data, with another port each time somebody else was quicker to take ours."""
        self.folder.mkdir(parents=True)
        self._on_free_port(self._start_on)

    def _start_on(self, port: int) -> None:
        self.address = f"{self._host}:{port}"
        self._options["port"] = str(port)
        self._run_server()

    def _run_server(self) -> None:
        options = [f"--{name}={value}" if value else f"--{name}" for name, value in self._options.items()]
        parameters = [f"--setParameter={name}={value}" for name, value in self._parameters.items()]
        with self._or_killed():
            self._run(
                [find_mongod(), f"--dbpath={self.folder}", *options, *parameters],
                lambda _: _READY in self._log.read_text(errors="replace"),
                ends_by=signal.SIGKILL,
                timeout_s=_START_TIMEOUT_S,
                poll_s=_POLL_S,
                **Account(None, None).process_options(),
            )

    def _fail(self, step: str, reason: str) -> NoReturn:
        failed(step, reason)


class MongodSet(MongoServer):
    """A local replica set; leaving its `with` block stops it and removes what it made.

    Attributes:
        url: `mongodb://…` of a user who may do everything; the same after a restart.
        members: Its servers; often one.
    """

    def __init__(self, scratch: Scratch | None, members: tuple[Mongod, ...]) -> None:
        super().__init__("")
        self.members = members
        self._scratch = scratch

    @classmethod
    def start(
        cls,
        folder: Path | None = None,
        *,
        members: int = 1,
        auth: bool = True,
        tls: Tls | None = None,
        settings: Mapping[str, str] | None = None,
        parameters: Mapping[str, str] | None = None,
        outlive: bool = False,
    ) -> Self:
        """Make new data folders, start servers on them, and wait until each is the primary or a secondary.

        Args:
            folder: Where everything goes, a folder that is empty or not there; it is kept. None takes a temporary one,
                removed in the end.
            members: How many.
            auth: Whether users must say who they are.
            tls: How the servers prove who they are; None for connections in clear.
            settings: Options of the servers beside or instead of ours, written as on the command line without the dashes;
                a flag has an empty value.
            parameters: What --setParameter sets, beside or instead of ours.
            outlive: Let them go on after this process ends, until somebody sends SIGTERM to each member's `pid`.

        Raises:
            ServerFailed: The message names the step; nothing is left running, and no temporary folder.
        """
        find_mongod()
        with folder_for("commitlog-mongodb-", folder, outlive=outlive) as (home, scratch), ExitStack() as undo:
            home.mkdir(parents=True, exist_ok=True)
            if scratch is None and any(home.iterdir()):
                failed("folder", f"{home} is not empty")
            key = secrets.token_hex(32)
            options = {**COMMON, "bind_ip": HOST, "replSet": SET, **_tls_options(tls)}
            if auth:
                options["keyFile"] = str(_key_file(home / "key", key))
            options |= settings or {}
            every = {**PARAMETERS, **(parameters or {})}
            servers = tuple(Mongod(home / str(n + 1), options, every, outlive=outlive) for n in range(members))
            started = cls(scratch, servers)
            for member in servers:
                undo.callback(member.close)
                member.start_on_free_port()
            query = _tls_query(tls)
            started.url = initiate([member.address for member in servers], key if auth else "", query)
            undo.pop_all()
            return started

    @property
    def primary(self) -> Mongod:
        """The member that takes writes now.

        Raises:
            pymongo.errors.PyMongoError: There is none.
        """
        with self.client() as client:
            client.admin.command("ping")
            address = client.primary
        return next(member for member in self.members if address and member.address == f"{address[0]}:{address[1]}")

    @property
    def pid(self) -> int:
        """The process id of the first member."""
        return self.members[0].pid

    @property
    def running(self) -> bool:
        """Whether a member is there."""
        return any(member.running for member in self.members)

    def stop(self, mode: StopMode = "fast") -> None:
        """End all members that run."""
        for member in self.members:
            if member.running:
                member.stop(mode)

    def restart(
        self,
        mode: StopMode = "fast",
        *,
        settings: Mapping[str, str] | None = None,
        parameters: Mapping[str, str] | None = None,
    ) -> None:
        """Stop all members and start them again on the same data and ports, and wait until one takes writes."""
        self.stop(mode)
        for member in self.members:
            member.restart(settings=settings, parameters=parameters)
        self.wait()

    def pause(self) -> None:
        """Stop all members where they stand (SIGSTOP): connections stay, and nobody answers."""
        for member in self.members:
            member.pause()

    def resume(self) -> None:
        """Let paused members go on."""
        for member in self.members:
            member.resume()

    def wait(self) -> None:
        """Wait until one member takes writes and every other one that runs follows it."""
        running = {member.address for member in self.members if member.running}
        wait_for_members(self.url, running)

    def close(self) -> None:
        """End all members, and remove what was temporary; a second time does nothing."""
        for member in self.members:
            member.close()
        if self._scratch:
            self._scratch.remove()


def initiate(addresses: list[str], key: str, query: Mapping[str, str], *, reach: str = "") -> str:
    """Make a replica set of servers that are up, and its first user.

    Args:
        addresses: HOST:PORT of each, as they reach one another.
        key: What stands in their key file; empty for servers that ask nobody who he is.
        query: Options of the URL.
        reach: How we reach the only one, where that is another address.

    Returns:
        The URL of a user who may do everything.
    """
    first = reach or addresses[0]
    # Whoever has the key is one of them, and may do what nobody else may yet. Source: MongoDB manual, "Keyfiles".
    internal = {"authSource": "local", "authMechanism": "SCRAM-SHA-256"} if key else {}
    member = f"__system:{quote(key, safe='')}@" if key else ""
    direct = f"mongodb://{member}{first}/?{urlencode({**query, **internal, 'directConnection': 'true'}, safe='/')}"
    settings = _IMPATIENT if len(addresses) > 1 else {}
    members = [{"_id": number, "host": address} for number, address in enumerate(addresses)]
    try:
        with connect(direct) as client:
            client.admin.command("replSetInitiate", {"_id": SET, "members": members, "settings": settings})
        wait_for_members(direct, set(addresses))
        password = secrets.token_hex(8)
        if key:
            with connect(direct) as client:
                client.admin.command("createUser", "root", pwd=password, roles=["root"])
    except PyMongoError as error:
        failed("replica set", str(error))
    user = f"root:{password}@" if key else ""
    options = {"directConnection": "true"} if reach and reach != addresses[0] else {"replicaSet": SET}
    options |= ({"authSource": "admin"} if key else {}) | dict(query)
    hosts = reach or ",".join(addresses)
    return f"mongodb://{user}{hosts}/?{urlencode(options, safe='/')}"


def wait_for_members(url: str, running: set[str]) -> None:
    """Wait until one of those members takes writes, and the others follow it."""

    def ready(client: Any) -> bool:
        found = {m["name"]: m["stateStr"] for m in client.admin.command("replSetGetStatus")["members"]}
        states = sorted(found[name] for name in running)
        if states != ["PRIMARY"] + ["SECONDARY"] * (len(running) - 1):
            return False
        return "directConnection" not in url or bool(client.admin.command("hello")["isWritablePrimary"])

    with connect(url) as client:
        _until(lambda: ready(client))


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        try:
            if condition():
                return
        except PyMongoError as error:
            said = str(error)
        else:
            said = "not all members are primary or secondary"
        if time.monotonic() > deadline:
            failed("replica set", f"not ready in {_START_TIMEOUT_S:.0f} s: {said}")
        time.sleep(_POLL_S)


def _key_file(path: Path, key: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(key)
    return path


def _tls_options(tls: Tls | None) -> dict[str, str]:
    if tls is None:
        return {}
    options = {
        "tlsMode": "requireTLS",
        "tlsCertificateKeyFile": str(tls.certificate),
        "tlsCAFile": str(tls.authority),
    }
    return options if tls.client else {**options, "tlsAllowConnectionsWithoutCertificates": ""}


def _tls_query(tls: Tls | None) -> dict[str, str]:
    if tls is None:
        return {}
    query = {"tls": "true", "tlsCAFile": str(tls.authority)}
    return {**query, "tlsCertificateKeyFile": str(tls.client)} if tls.client else query
