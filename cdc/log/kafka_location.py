"""Where a log on Kafka lives: `kafka://HOST[,HOST]/PREFIX#NAME`, its topics, and what clients are told to reach them.

Connects to nothing; the reader, the writer and the lease do.
"""

import ipaddress
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ...schemas.errors import Refused, UsageError
from .location import check_name

SCHEME = "kafka:"
PROPERTIES_VARIABLE = "COMMITLOG_LOG__PROPERTIES"
DEFAULT_PORT = 9092
_URL = re.compile(r"kafka://([^/#]+)/([^/#]*)#([^#]*)")
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")
_PREFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_OTHER_TOPICS = ("inbox", "sessions")
_FORM = "a log on Kafka is kafka://HOST[:PORT][,HOST]/PREFIX#NAME, such as kafka://localhost:9092/acme#shop"


@dataclass(frozen=True, slots=True)
class KafkaLocation:
    """One log on Kafka: the one partition of the topic PREFIX.NAME.

    Args:
        hosts: HOST:PORT of some of the brokers.
        prefix: What the names of all its topics begin with.
        name: The log's name, as in a folder.
        properties: A file of librdkafka's properties, for TLS, authentication and tuning; None for the one that
            COMMITLOG_LOG__PROPERTIES names, if it is set.
    """

    hosts: tuple[str, ...]
    prefix: str
    name: str
    properties: Path | None = None

    @classmethod
    def parse(cls, url: str, *, properties: Path | None = None) -> "KafkaLocation":
        """Read `kafka://HOST[,HOST]/PREFIX#NAME`.

        Raises:
            UsageError: It is something else.
        """
        match = _URL.fullmatch(url)
        if match is None or "@" in match[1] or not _PREFIX.fullmatch(match[2]):
            raise UsageError(f"{_without_user(url)!r} is not a log on Kafka", hint=_FORM)
        hosts = tuple(_host(text, url) for text in match[1].split(","))
        check_name(match[3])
        if match[3] in _OTHER_TOPICS:
            raise UsageError(f"a log on Kafka cannot be called {match[3]}", hint="choose another name")
        if properties is None and os.environ.get(PROPERTIES_VARIABLE):
            properties = Path(os.environ[PROPERTIES_VARIABLE]).expanduser().absolute()
        return cls(hosts, match[2], match[3], properties)

    def __str__(self) -> str:
        return f"kafka://{','.join(self.hosts)}/{self.prefix}#{self.name}"

    @property
    def topic(self) -> str:
        """The topic of the log's records, and the transactional id of its writer."""
        return f"{self.prefix}.{self.name}"

    @property
    def lease(self) -> str:
        """The topic, and the group of consumers, by which one of several workers leads."""
        return f"{self.topic}.lease"

    @property
    def inbox(self) -> str:
        """The topic of requests to the workers of all logs of this prefix, and of their answers."""
        return f"{self.prefix}.inbox"

    @property
    def sessions(self) -> str:
        """The topic of what the mesh says of requests, for the workers of all logs of this prefix."""
        return f"{self.prefix}.sessions"

    @property
    def root(self) -> Path:
        """The folder of this machine for what goes with the log and can be made again, such as its index."""
        # A user without a home, as of a container, has its cache where other things of a moment are.
        cache = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))  # noqa: PTH111
        if not cache.is_absolute():
            cache = Path(tempfile.gettempdir(), f"commitlog-{os.getuid()}")
        return cache / "commitlog" / "logs" / f"{self.hosts[0].replace(':', '_')}" / self.topic

    @property
    def state_name(self) -> str:
        """What the files of this log are called in a worker's own folder."""
        return f"{self.topic}@kafka"

    @property
    def on_loopback(self) -> bool:
        """Whether all brokers named are on this machine."""
        return all(_is_loopback(host.rpartition(":")[0].strip("[]")) for host in self.hosts)

    def client(self) -> dict[str, str]:
        """What a client is told to reach the brokers, the properties of its file included. Holds secrets.

        Off this machine a client speaks TLS and checks who answers, unless the file says otherwise.

        Raises:
            UsageError: The file cannot be read, or is none.
        """
        given = _read(self.properties) if self.properties else {}
        settings = (
            {}
            if self.on_loopback
            else {"security.protocol": "sasl_ssl" if {"sasl.mechanism", "sasl.mechanisms"} & given.keys() else "ssl"}
        )
        return {**settings, **given, "bootstrap.servers": ",".join(self.hosts)}

    def check_visibility(self, visibility: str) -> None:
        """Let a log for its owner's use go only where nobody else reads it on the way or there.

        Args:
            visibility: The log's.

        Raises:
            Refused: It holds what is its owner's alone, and the brokers are neither on this machine nor reached with
                authentication and TLS.
        """
        if visibility != "own" or self.on_loopback:
            return
        client = self.client()
        protocol = client["security.protocol"].lower()
        known = protocol == "sasl_ssl" or (
            protocol == "ssl" and ("ssl.certificate.location" in client or "ssl.keystore.location" in client)
        )
        checked = (
            client.get("enable.ssl.certificate.verification", "true").lower() == "true"
            and client.get("ssl.endpoint.identification.algorithm", "https").lower() == "https"
        )
        if not (known and checked):
            raise Refused(
                f"log {self} is for its owner's use, and goes to another machine"
                f" without {'authentication' if checked else 'a check of who answers'}",
                hint="[log] properties = FILE with security.protocol=sasl_ssl, sasl.mechanism, sasl.username and"
                " sasl.password, or with a client's certificate; or make a log with visibility = 'shared'",
            )


def _read(path: Path) -> dict[str, str]:
    """The lines NAME=VALUE of a file; never a value in an error."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8"
        raise UsageError(
            f"the properties of Kafka in {path} cannot be read: {reason}", hint="[log] properties"
        ) from exc
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals or not re.fullmatch(r"[a-z0-9._]+", name.strip()):
            raise UsageError(f"{path}, line {number} is not NAME=VALUE", hint="librdkafka's names of properties")
        found[name.strip()] = value.strip()
    return found


def _host(text: str, url: str) -> str:
    match = _HOST.fullmatch(text)
    if match is None or int(match[2] or DEFAULT_PORT) > 65535:
        raise UsageError(f"{url!r} names a broker that is not HOST or HOST:PORT", hint=_FORM)
    return f"{match[1]}:{match[2] or DEFAULT_PORT}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _without_user(url: str) -> str:
    """The url without what stands before an @, which may be a password."""
    before, at, after = url.rpartition("@")
    return f"{before.partition('//')[0]}//…@{after}" if at else url
