"""The worker's inner loops, compiled. Where there was no C compiler, and for whatever is not plain, Python's own do the same.

What stands here twice gives the same bytes, and tests/unit/test_native.py compares them: `Collector` with `tail/assembler.py`,
`Shaper` with `transforms/project.py`, `run` with `worker/commits.py`, `plain_record` with `schemas/record.py`, `seal` with
`log/chain.py`; tests/unit/test_binlog_native.py compares `BinlogRows` and `binlog_groups` with `tail/binlog/`, and tests/unit/test_oplog_native.py
`oplog_entries`, and what `Shaper` makes of documents, with `tail/oplog/`. `COMMITLOG_PURE=1` in the environment leaves the compiled part out.
"""

import os
from typing import Final

missing = ""
"""Why there is no compiled part; empty where there is."""

try:
    if os.environ.get("COMMITLOG_PURE"):
        raise ImportError("COMMITLOG_PURE is set")
    from ._native import (
        BinlogRows,
        Collector,
        Shaper,
        binlog_groups,
        choose,
        oplog_entries,
        plain_record,
        run,
        seal,
        sha256,
    )
except ImportError as exc:
    missing = str(exc)

COMPILED: Final = not missing

__all__ = [
    "COMPILED",
    "BinlogRows",
    "Collector",
    "Shaper",
    "binlog_groups",
    "choose",
    "missing",
    "oplog_entries",
    "plain_record",
    "run",
    "seal",
    "sha256",
]
