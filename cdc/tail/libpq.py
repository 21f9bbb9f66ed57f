"""psycopg's own libpq, called from the compiled part: a Python object for each message cost more than taking it apart."""

import ctypes
import sys

from psycopg import pq

from .. import native


def copy_functions(pgconn: "pq.abc.PGconn") -> tuple[int, int] | None:
    """The addresses of PQgetCopyData and PQfreemem in the libpq that made a connection.

    Returns:
        None where there is no compiled part, or psycopg's own is not compiled: then `get_copy_data` is the way.
    """
    module = sys.modules.get(type(pgconn).__module__)
    path = getattr(module, "__file__", None)
    if not native.COMPILED or pq.__impl__ not in ("binary", "c") or path is None:
        return None
    try:
        library = ctypes.CDLL(
            path
        )  # the module that is loaded already: its symbols are those of the libpq it is linked with
        functions = library.PQgetCopyData, library.PQfreemem
    except (OSError, AttributeError):
        return None
    get, free = (ctypes.cast(function, ctypes.c_void_p).value for function in functions)
    return (get, free) if get and free else None
