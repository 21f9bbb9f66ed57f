"""All that the demo runs on: servers, the shop, the mesh, a worker, and the folder they write to. Nothing of it is left behind."""

import hashlib
import json
import os
import secrets
from contextlib import ExitStack
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from ..database_url import split_password
from ..log.home import log_exists, open_reader
from ..log.kafka_location import KafkaLocation
from ..log.location import Location
from ..servers.kafka import KafkaServer
from ..servers.kafka_provision import provide_kafka
from ..servers.scratch import Scratch
from .engine import Engine
from .follower import Follower
from .interrupt import held_back
from .mesh import ACCESS_LOG, ROUTES_FILE, USERS_FILE
from .processes import Process, await_true, python
from .screen import Screen
from .shell import Shell, commitlog
from .shop import DATABASE_VARIABLE
from .user import User

HERE = Path(__file__).parent
USERS = ("ann", "ben", "cleo")
WORKER_READY_S = 30.0
SOURCE_VARIABLE, TARGET_VARIABLE = "SHOP_URL", "FORK_URL"
"""What stands in shown commands for an address that holds a password."""

BUILD_DIGITS = 12
"""Of the digest of a build's code, which is its build id: enough to tell two builds apart, short enough to read."""


class Stage:
    """Starts everything; leaving its `with` block ends and removes everything, after an error and Ctrl-C, too.

    Args:
        screen: Where commands are shown.
        engine: The database's.
        kafka: Whether the log is to be on Kafka.
    """

    def __init__(self, screen: Screen, engine: Engine, *, kafka: bool = False) -> None:
        self.engine = engine
        self._screen, self._kafka = screen, kafka
        self._exits = ExitStack()

    def __enter__(self) -> Self:
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End and remove everything; a second Ctrl-C does not cut it short."""
        with held_back(forget=True):
            self._exits.close()

    def _open(self) -> None:
        with held_back():
            scratch = Scratch("commitlog-demo-")
            self._exits.callback(scratch.remove)
        self.folder = scratch.folder
        with held_back():
            self.server = self._exits.enter_context(self.engine.provide())
        self._given = self.engine.is_given(self.server)
        # A server that somebody else runs may have databases and slots of these names.
        suffix = f"_{secrets.token_hex(3)}" if self._given else ""
        self.database, self.fork_database = f"shop{suffix}", f"shop_fork{suffix}"
        self.url = self._create_database(self.database)
        if self._given:
            for name in self.engine.made_by_setup(self.server):
                self._exits.callback(self.server.drop_database, name)
        self.engine.make_shop(self.url)
        self.env = self._environment()
        self.location = self._provide_broker() if self._kafka else Location(self.folder / "log", self.database)
        self.reader = open_reader(self.location)
        self._exits.callback(self.reader.close)
        self.shell = Shell(self._screen, self.folder, self.env)
        self.source = self._for_commands(self.url, SOURCE_VARIABLE)
        self._open_shop()

    def _provide_broker(self) -> KafkaLocation:
        """Where on a broker the log is to be."""
        with held_back():
            broker = self._exits.enter_context(provide_kafka())
        # As with the server: one that somebody else runs may have topics of these names.
        prefix = "demo" if isinstance(broker, KafkaServer) else f"demo_{secrets.token_hex(3)}"
        location = KafkaLocation((broker.bootstrap,), prefix, self.database)
        if not isinstance(broker, KafkaServer):
            # Loaded here only: the demo without Kafka does without its client, too.
            from .topics import remove_topics

            self._exits.callback(remove_topics, location)
        return location

    def _create_database(self, name: str) -> str:
        if self._given:
            self._exits.callback(self.server.drop_database, name)
        return self.server.create_database(name)

    def _environment(self) -> dict[str, str]:
        """Our own environment, without settings of commitlog that are meant for something else than this demo."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("COMMITLOG_")}
        own = {
            "COMMITLOG_SESSION_KEY": secrets.token_hex(16),
            "COMMITLOG_HTTP__LISTEN": "127.0.0.1:0",
            # What commands keep on this machine of a log on Kafka.
            "XDG_CACHE_HOME": str(self.folder / "cache"),
        }
        password, variable = split_password(self.url)[1], self.engine.password_variable
        return {**kept, **own, **({variable: password} if password and variable else {})}

    def _open_shop(self) -> None:
        mesh = self.folder / "mesh"
        mesh.mkdir()
        self.tokens = {secrets.token_urlsafe(18): name for name in USERS}
        (mesh / USERS_FILE).write_text(json.dumps(self.tokens))
        self.ports = {"stable": self.start_shop("shop", "1.4.0")}
        self._write_routes()
        self.mesh = self._start("mesh", python("mesh", str(mesh)))
        port = int(self.mesh.first_line())
        self.mesh_port = port
        self.users = [User(name, port, token) for token, name in self.tokens.items()]
        for user in self.users:
            self._exits.callback(user.close)

    def start_shop(self, module: str, version: str) -> int:
        """Start a build of the shop; its port."""
        build = hashlib.sha256((HERE / f"{module}.py").read_bytes()).hexdigest()[:BUILD_DIGITS]
        env = {
            DATABASE_VARIABLE: self.url,
            "COMMITLOG_APP": "shop",
            "COMMITLOG_VERSION": version,
            "COMMITLOG_BUILD": build,
        }
        return int(self._start(f"shop {version}", python(module), env).first_line())

    def route(self, name: str, port: int) -> None:
        """Have the mesh send requests of a route to a port."""
        self.ports[name] = port
        self._write_routes()

    def _write_routes(self) -> None:
        file = self.folder / "mesh" / ROUTES_FILE
        new = file.with_suffix(".new")
        new.write_text(json.dumps(self.ports))
        new.replace(file)

    def start_worker(self) -> None:
        """Start `commitlog run` and wait until the log has begun."""
        self.worker = self._start("the worker", commitlog("run"))
        await_true("the log begins", self._has_begun, processes=[self.worker], timeout_s=WORKER_READY_S)

    def _has_begun(self) -> bool:
        return log_exists(self.location) and self.reader.head().seq >= 0

    def start_follower(self) -> Follower:
        """Start a reader of the log that measures."""
        with held_back():
            self.follower = Follower(self.location, self.folder)
            self._exits.callback(self.follower.stop)
        return self.follower

    @property
    def on_kafka(self) -> bool:
        """Whether the log is on Kafka."""
        return isinstance(self.location, KafkaLocation)

    @property
    def log(self) -> str:
        """The log as commands in the demo's folder take it."""
        location = self.location
        return f"file:{location.folder.name}#{location.name}" if isinstance(location, Location) else str(location)

    def give(self, build: int, target: str) -> None:
        """Copy an app schema of the shop to a place in the demo's folder, with the names of the engine's tables.

        Args:
            build: Of version 1 or 2.
            target: The place.
        """
        path = self.folder / target
        path.parent.mkdir(exist_ok=True)
        text = (HERE / f"{self.engine.schema}_{build}.yaml").read_text(encoding="utf-8")
        path.write_text(
            text.replace("from: public.", f"from: {self.engine.namespace(self.database)}."), encoding="utf-8"
        )

    def create_fork_database(self) -> None:
        """Make an empty database for a fork, at `fork_url`, which commands take as `target`."""
        self.fork_url = self._create_database(self.fork_database)
        self.target = self._for_commands(self.fork_url, TARGET_VARIABLE)

    @property
    def access_log(self) -> Path:
        """The mesh's access log."""
        return self.folder / "mesh" / ACCESS_LOG

    def _for_commands(self, url: str, variable: str) -> str:
        """A database's address as commands take it: without its password, where they find that elsewhere."""
        bare, password = split_password(url)
        if password is None or self.engine.password_variable:
            return bare
        self.shell.name(url, variable)
        return url

    @property
    def server_place(self) -> str:
        """Where the server listens, and whose it is."""
        place = f"{urlsplit(self.url).hostname}:{urlsplit(self.url).port}"
        return f"{place}, given by {self.engine.variable}" if self._given else place

    @property
    def aside(self) -> str:
        """What is to be said of the address where it holds a password."""
        return f"; ${SOURCE_VARIABLE} is its address" if self.source == self.url and split_password(self.url)[1] else ""

    def _start(self, name: str, command: list[str], env: dict[str, str] | None = None) -> Process:
        log = self.folder / f"{name.replace(' ', '-')}.stderr"
        with held_back():
            process = Process(name, command, log=log, env={**self.env, **(env or {})}, cwd=self.folder)
            self._exits.callback(process.stop)
        return process
