"""What a stamp is on MongoDB: a small document in `commitlog.stamps` that says whose the writes of a server session are.

    {_id: <id of the server session, the `lsid.id` of its writes>, ctx: <the tag, or "">, txn: <its txnNumber>, at: <date>}

A transaction writes it last, so it stands at the end of its `applyOps`. For lone writes it is a write by itself, in their
session and before the first of them, and holds for those with a txnNumber of the same span (`number // SPAN`). Each request
begins a span of its own: a stamp that was refused, or was rolled back with the primary that had it, leaves writes untagged,
and never under the tag before. `ctx` is "" before writes of no request.

`txn` and `at` are new with each stamp: MongoDB does not log a replacement that changes nothing.
"""

from typing import Final

DATABASE: Final = "commitlog"
COLLECTION: Final = "stamps"

SPAN: Final = 1 << 20
"""Consecutive txnNumbers of which one stamp can tell."""

RENEWED_AFTER_S: Final = 600.0
"""A stamp of lone writes is written again after that time, so that who begins to read finds it not far behind."""
