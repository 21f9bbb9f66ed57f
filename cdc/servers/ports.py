"""Ports of this machine's loopback for servers of our own."""

import random
import socket

from .failure import ServerFailed

HOST = "127.0.0.1"
# Below the range from which the kernel takes the ports of outgoing connections: while a server is down, a client that
# keeps trying to connect could otherwise be given the server's own port, and be connected to itself.
_PORTS = range(15_000, 32_000)
PORT_TRIES = 20


def free_port() -> int:
    """A port that nobody listens on now; somebody may a moment later.

    Raises:
        ServerFailed: None was found.
    """
    for port in random.sample(_PORTS, PORT_TRIES):
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise ServerFailed("port", f"{PORT_TRIES} ports between {_PORTS.start} and {_PORTS.stop} are all in use")
