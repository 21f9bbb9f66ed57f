"""A user of the shop: real HTTP requests with a token, through the mesh, and a note of what came back."""

import http.client
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .mesh import CANARY_HEADER
from .processes import DemoFailed

TIMEOUT_S = 20


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for a request.

    Args:
        user: Who asked.
        what: For what: method and path.
        request: The id that the mesh gave the request.
        status: HTTP status.
        document: The JSON that came back.
        sent: When it was asked, in seconds since 1970.
    """

    user: str
    what: str
    request: str
    status: int
    document: Mapping[str, Any]
    sent: float

    @property
    def id(self) -> int:
        """The number of the thing that was made or changed."""
        return int(self.document["id"])


class User:
    """One user with a token of their own and a session cookie; one connection, so for one thread.

    Args:
        name: Known to the mesh only.
        port: The mesh's.
        token: By which the mesh knows the user.
    """

    def __init__(self, name: str, port: int, token: str) -> None:
        self.name = name
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
        self._headers = {
            "authorization": f"Bearer {token}",
            "cookie": f"session={secrets.token_urlsafe(18)}",
            "content-type": "application/json",
        }

    def ask(self, method: str, path: str, document: Mapping[str, Any] | None = None, *, canary: bool = False) -> Answer:
        """Send a request.

        Raises:
            DemoFailed: Nothing came back, or what came back is not JSON.
        """
        headers = {**self._headers, CANARY_HEADER: "1"} if canary else self._headers
        body = json.dumps(document).encode() if document is not None else b""
        sent = time.time()
        try:
            self._connection.request(method, path, body, headers)
            response = self._connection.getresponse()
            answer = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as exc:
            self._connection.close()
            raise DemoFailed(f"{method} {path} got no answer: {exc}") from exc
        return Answer(self.name, f"{method} {path}", response.headers["x-request-id"], response.status, answer, sent)

    def do(self, method: str, path: str, document: Mapping[str, Any] | None = None, *, canary: bool = False) -> Answer:
        """Send a request that must succeed.

        Raises:
            DemoFailed: It does not.
        """
        answer = self.ask(method, path, document, canary=canary)
        if answer.status not in (200, 201):
            raise DemoFailed(f"{method} {path} was answered {answer.status}: {answer.document}")
        return answer

    def order(self, customer: int, lines: Mapping[int, int], note: str | None = None) -> Answer:
        """Place an order: `lines` is product to quantity."""
        wanted = [{"product": product, "quantity": quantity} for product, quantity in lines.items()]
        return self.do("POST", "/orders", {"customer": customer, "lines": wanted, "note": note})

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
