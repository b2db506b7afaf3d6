"""The reloader's child process. See reload.py for what the pipe carries."""

from __future__ import annotations

import os
import pickle
import socket
import struct
import sys
import threading

from pyre.config import Config
from pyre.errors import EXIT_USAGE, ConfigError
from pyre.main import run_server
from pyre.reload import FORCE, RESTART, RESTART_DRAIN
from pyre.server import Server


def main(fd: int) -> None:
    """Serves as the reloader at the other end of the pipe `fd` says, until it says stop or is gone."""
    os.set_inheritable(fd, False)  # what the application starts must not hold it open
    pipe = os.fdopen(fd, "rb", buffering=0)
    (size,) = struct.unpack("!Q", _read(fd, 8))
    payload = pickle.loads(_read(fd, size))
    sys.argv = payload["argv"]
    sockets = []
    for number in payload["sockets"]:
        os.set_inheritable(number, False)
        sockets.append(socket.socket(fileno=number))
    try:
        server = Server(Config(**payload["options"]))
    except ConfigError as error:
        print(f"Error: {error}", file=sys.stderr)
        raise SystemExit(EXIT_USAGE) from None
    threading.Thread(target=_obey, args=(pipe.fileno(), server), name="pyre.reload", daemon=True).start()
    run_server(server, sockets)


def _read(fd: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = os.read(fd, size - len(data))
        if not piece:
            raise SystemExit(0)  # the reloader is gone
        data += piece
    return data


def _obey(fd: int, server: Server) -> None:
    while True:
        command = os.read(fd, 1)
        if command == FORCE:
            server.force_exit = True
            continue
        if command in (RESTART, b""):
            # Nobody is there to wait for: the next child must get its turn, or, at the pipe's end, the reloader is
            # dead.
            drain = server.config.timeout_graceful_shutdown
            server.config.timeout_graceful_shutdown = RESTART_DRAIN if drain is None else min(drain, RESTART_DRAIN)
        if not server.config.loaded:
            os._exit(0)  # the application's import or factory runs; nothing of the server's is there to be ended
        if command == RESTART and not server.started:
            server.force_exit = True
        server.should_exit = True
        if not command:
            return
