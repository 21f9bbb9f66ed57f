"""The salted Merkle tree over a record's items (README §4). It hashes bytes; it does not parse them."""

from collections.abc import Sequence
from hashlib import sha256

SALT_BYTES = 32
"""Random bytes per record; from them every item gets a salt of its own, so that a hidden item cannot be guessed."""

ITEM_SALT_BYTES = 16
"""An item's own salt, derived from the record's and shown with the item in a redacted body."""

_INDEX = tuple(i.to_bytes(4, "big") for i in range(16_384))


def item_salt(salt: bytes, index: int) -> bytes:
    """The 16 bytes that blind item `index` of a record whose salt is `salt`."""
    return sha256(salt + index.to_bytes(4, "big")).digest()[:ITEM_SALT_BYTES]


def leaf_hash(salt: bytes, item: bytes) -> bytes:
    """The leaf of one item, `salt` being the item's own 16 bytes."""
    return sha256(b"\x00" + salt + item).digest()


def root_of_leaves(leaves: Sequence[bytes]) -> bytes:
    """The RFC 6962 root over `leaves`, at least one.

    Pairing level by level and carrying an odd last node up gives the same tree as RFC 6962's split at the largest power
    of two.
    """
    level = leaves
    while len(level) > 1:
        above = [sha256(b"\x01" + level[i] + level[i + 1]).digest() for i in range(0, len(level) - 1, 2)]
        if len(level) & 1:
            above.append(level[-1])
        level = above
    return level[0]


def tree_root(salt: bytes, items: Sequence[bytes]) -> str:
    """The root over `items`, as 64 hex digits. Flat on purpose: a writer calls it once per record."""
    if len(items) > len(_INDEX):
        return root_of_leaves([leaf_hash(item_salt(salt, i), item) for i, item in enumerate(items)]).hex()
    hasher = sha256
    leaves = [
        hasher(b"\x00" + hasher(salt + index).digest()[:16] + item).digest()
        for index, item in zip(_INDEX, items, strict=False)
    ]
    if len(leaves) == 3:  # by, meta and one change: half of all records
        left = hasher(b"\x01" + leaves[0] + leaves[1]).digest()
        return hasher(b"\x01" + left + leaves[2]).hexdigest()
    return root_of_leaves(leaves).hex()
