"""The order in which a MongoDB is found: a URL in the environment, a container, this machine."""

import logging
import os

from .container import docker_answers
from .failure import MONGODB_URL_VARIABLE, ServerFailed
from .mongod import MongodSet
from .mongodb import GivenMongoServer, MongoServer
from .mongodb_container import ContainerMongoServer

_log = logging.getLogger("commitlog.servers")


def provide_mongodb() -> MongoServer:
    """A replica set and a user who may do everything, to be used in a `with` block.

    Raises:
        Unreachable: The given URL does not answer; it is never passed over for another server.
        Refused: The given server keeps no oplog.
        ServerFailed: None was given and none could be started.
    """
    url = os.environ.get(MONGODB_URL_VARIABLE)
    if url:
        return GivenMongoServer(url)
    if docker_answers():
        try:
            return ContainerMongoServer()
        except ServerFailed as error:
            # A daemon without a way to the image, as on a machine with no registry, is no reason to stop here.
            _log.warning("%s; starting one on this machine instead", error)
    return MongodSet.start()
