"""Pseudonyms in a log for others: who and which request stay the same from commit to commit, and stay unknown.

A pseudonym is HMAC-SHA-256 under a key that never leaves the custodian: without it nobody can try names out.
"""

import hmac
from collections.abc import Mapping
from typing import Any, Final

from .request_key import mask_request

HIDDEN: Final = ("user", "request", "session")
"""What of `by` becomes a pseudonym. `traceparent` is left out whole: others' systems know traces by it."""


class Pseudonyms:
    """Pseudonyms under one key.

    Args:
        key: 32 random bytes.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def of(self, kind: str, value: str) -> str:
        """The pseudonym of a value, 32 hex digits; of a request id, as join keys have it.

        Args:
            kind: One of HIDDEN: the same text as user and as session gets two pseudonyms.
            value: The text.
        """
        if kind == "request":
            value = mask_request(value)
        return hmac.digest(self._key, f"{kind}\0{value}".encode(), "sha256").hex()[:32]

    def hide(self, by: Mapping[str, Any]) -> dict[str, Any]:
        """`by` with pseudonyms, in the same order."""
        out = {name: self.of(name, value) if name in HIDDEN else value for name, value in by.items()}
        out.pop("traceparent", None)
        claims = by.get("claims")
        if claims:
            out["claims"] = {name: self.of(name, value) for name, value in claims.items()}
        return out
