"""What every client of Kafka here shares: how it is told where to go, and what its errors mean to us."""

import importlib
import time
from collections.abc import Callable
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException

from ...schemas.errors import CommitLogError, HistoryLost, Refused, Unreachable, UsageError
from .kafka_location import KafkaLocation

_Client = TypeVar("_Client")
kafka_admin: Any = importlib.import_module("confluent_kafka.admin")
"""Not imported by name: half of its types are unknown."""

REQUEST_S = 10.0
"""How long one request may take before the broker counts as out of reach."""

AWAY_S = 2.0
"""The same where every broker refuses to be connected to: one that is only started anew is back by then, or will be waited for."""

_SETTINGS: dict[str, Any] = {
    "client.id": "commitlog",
    # What happens is raised, by us and with a way on; the library's own lines on stderr are left out.
    "log_level": 0,
    "socket.timeout.ms": int(REQUEST_S * 1000),
    "socket.keepalive.enable": True,
    "reconnect.backoff.ms": 50,
    "reconnect.backoff.max.ms": 1000,
    "allow.auto.create.topics": False,
}
_DENIED = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)
_UNPROVEN = frozenset({KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED, KafkaError._SSL})
READERS = "commitlog-readers"
"""The group of consumers that read by places of their own. The library wants one; nothing is ever committed to it."""

NO_MATTER = frozenset({KafkaError.GROUP_AUTHORIZATION_FAILED})
"""What a consumer of READERS is told that it need not mind: it has no use for its group."""

NO_TOPIC = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION})
FENCED = frozenset(
    {
        KafkaError._FENCED,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.PRODUCER_FENCED,
        KafkaError.INVALID_PRODUCER_ID_MAPPING,
    }
)
TOO_LARGE = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE})


class Connection:
    """How one client reaches the brokers of a log, and what it last had to say of the way there.

    Args:
        location: The log.
    """

    def __init__(self, location: KafkaLocation) -> None:
        self.location = location
        self._last: KafkaError | None = None
        self._down_at = 0.0

    def settings(self) -> dict[str, Any]:
        """The properties that every client has.

        Raises:
            UsageError: The log's file of properties cannot be read.
        """
        return {**_SETTINGS, "error_cb": self._note, **self.location.client()}

    def client(self, make: Callable[[dict[str, Any]], _Client], settings: dict[str, Any]) -> _Client:
        """A client of the library.

        Args:
            make: Of which kind.
            settings: All its properties.

        Raises:
            UsageError: The library does not take them, which can only be for those of the log's file.
        """
        try:
            return make(settings)
        except KafkaException as exc:
            raise self.error(exc, "cannot be reached") from exc

    def away(self, since: float) -> bool:
        """Whether no broker is in reach, and was not for AWAY_S.

        Args:
            since: When the request was made that is not answered, by the monotonic clock.
        """
        return self._down_at >= since and time.monotonic() - since > AWAY_S

    def _note(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._down_at = time.monotonic()
        # That all brokers are down says less than what was said of one of them before.
        if error.code() != KafkaError._ALL_BROKERS_DOWN or self._last is None:
            self._last = error

    def error(self, exc: KafkaException | KafkaError, doing: str) -> CommitLogError:
        """The error of ours that one of the library's means.

        Args:
            exc: The library's.
            doing: What was being done, such as "cannot be read".
        """
        error = exc if isinstance(exc, KafkaError) else exc.args[0]
        if not isinstance(error, KafkaError):
            return Refused(f"log {self.location} {doing}: {error}", hint="look at the properties of Kafka")
        code, last = error.code(), self._last
        said = error.str()
        if last is not None and code in (KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN):
            said, code = last.str(), last.code()
        message = f"log {self.location} {doing}: {said}"
        if code in _DENIED:
            return Refused(message, hint=_grants(self.location))
        # A certificate that is refused while the library still connects is told as a broken transport.
        if code in _UNPROVEN or (code == KafkaError._TRANSPORT and "certificate verify failed" in said):
            return Refused(message, hint="look at security.protocol, sasl.* and ssl.* in [log] properties")
        if code == KafkaError._INVALID_ARG or code == KafkaError.INVALID_CONFIG:
            return UsageError(message, hint="look at [log] properties")
        if code in NO_TOPIC:
            return HistoryLost(
                f"log {self.location} {doing}: its topic {self.location.topic} is gone",
                hint=f"put the topic back from a copy; a new log begins under another name, or after its worker's"
                f" {self.location.state_name}.head is removed",
            )
        return Unreachable(message, hint="start the broker, or look at the way to it")


def _grants(location: KafkaLocation) -> str:
    """What a worker's user needs on the brokers."""
    topics = f"{location.topic}, {location.lease}, {location.inbox} and {location.sessions}"
    return (
        f"kafka-acls.sh --add for its user: READ, WRITE, CREATE, DESCRIBE and DESCRIBE_CONFIGS on topics {topics}; READ on"
        f" group {location.lease}; WRITE and DESCRIBE on transactional id {location.topic}; a reader needs READ on its topic"
    )
