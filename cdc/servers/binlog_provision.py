"""The order in which a MySQL or MariaDB is found: a URL in the environment, a container, this machine."""

import logging
import os
from collections.abc import Mapping

from .binlog import BinlogServer, GivenBinlogServer
from .binlog_container import ContainerBinlogServer
from .container import docker_answers
from .failure import ServerFailed
from .mysqld import LocalMysqld

_log = logging.getLogger("commitlog.servers")


def provide(local: type[LocalMysqld], settings: Mapping[str, str] | None = None) -> BinlogServer:
    """A server with a binlog that can be read and a user who may do everything, to be used in a `with` block.

    Args:
        local: Of which product: what runs on this machine where there is nothing else.
        settings: Options for one that we start; a server that is given keeps its own.

    Raises:
        Unreachable: The given URL does not answer; it is never passed over for another server.
        Refused: The given server does not write the log that is needed.
        ServerFailed: None was given and none could be started.
    """
    url = os.environ.get(local.variable)
    if url:
        return GivenBinlogServer(url, local.features, local.variable)
    if docker_answers():
        try:
            return ContainerBinlogServer(local, local.image, settings or {})
        except ServerFailed as error:
            # A daemon without a way to the image, as on a machine with no registry, is no reason to stop here.
            _log.warning("%s; starting one on this machine instead", error)
    return local.start(settings=settings)
