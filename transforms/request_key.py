"""Request ids as join keys: what the mesh changes on the way is left out of the comparison, and of it alone."""

import re

_UUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
_TRACE_NIBBLE = 14


def mask_request(request: str) -> str:
    """A request id as a join key: Envoy rewrites one digit of a UUID to its trace decision, so that digit is left out.

    Source: Envoy, source/extensions/request_id/uuid/config.h, TRACE_BYTE_POSITION.
    """
    if len(request) != 36 or not _UUID.fullmatch(request):
        return request
    return f"{request[:_TRACE_NIBBLE]}x{request[_TRACE_NIBBLE + 1 :]}".lower()
