"""A port for a server that a test starts."""

from __future__ import annotations

import contextlib
import random
import socket

# Below the ports that the systems give to clients (32768 and up on Linux, 49152 and up on Windows). Who asks a port of
# that range again and again whether its server listens yet is sooner or later given the same port for its own side, and
# is then connected with itself; and a client of another test can hold it when the server wants it.
PORTS = range(12000, 32000)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that was free a moment ago. OSError if 100 were not."""
    for _ in range(99):
        with contextlib.suppress(OSError):
            return _bound_port()
    return _bound_port()


def _bound_port() -> int:
    port = random.choice(PORTS)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", port))
    return port
