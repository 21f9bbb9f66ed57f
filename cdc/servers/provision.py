"""The order in which a PostgreSQL is found: a URL in the environment, a container, this machine."""

import logging
import os
from collections.abc import Mapping

from .container import ContainerServer, docker_answers
from .failure import POSTGRES_URL_VARIABLE, ServerFailed
from .local import PostgresServer
from .postgres import GivenServer, Server

_log = logging.getLogger("commitlog.servers")


def provide_postgres(settings: Mapping[str, str] | None = None) -> Server:
    """A PostgreSQL with wal_level=logical and a superuser, to be used in a `with` block.

    Args:
        settings: Server settings for one that we start; a server that is given keeps its own.

    Raises:
        Unreachable: The given URL does not answer; it is never passed over for another server.
        Refused: The given server does not write the replication log that is needed.
        ServerFailed: None was given and none could be started.
    """
    url = os.environ.get(POSTGRES_URL_VARIABLE)
    if url:
        return GivenServer(url)
    if docker_answers():
        try:
            return ContainerServer(settings or {})
        except ServerFailed as error:
            # A daemon without a way to the image, as on a machine with no registry, is no reason to stop here.
            _log.warning("%s; starting one on this machine instead", error)
    return PostgresServer.start(settings=settings)
