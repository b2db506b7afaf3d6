"""The reloader's child process. See reload.py for what the pipe carries."""

from __future__ import annotations

import os
import sys
import threading

import pyre.main
from pyre.config import Config
from pyre.errors import EXIT_USAGE, ConfigError
from pyre.reload import FORCE, RESTART, RESTART_DRAIN
from pyre.reload_pipe import Order
from pyre.server import Server


def main(number: int) -> None:
    """Serves as the reloader at the other end of the pipe `number` says, until it says stop or is gone."""
    order = Order(number)
    pyre.main.in_reload_child = True
    try:
        server = pyre.main.make_server(Config(**order.options))
    except ConfigError as error:
        print(f"Error: {error}", file=sys.stderr)
        raise SystemExit(EXIT_USAGE) from None
    threading.Thread(target=_obey, args=(order, server), name="pyre.reload", daemon=True).start()
    pyre.main.run_server(server, order.sockets)


def _obey(order: Order, server: Server) -> None:
    while True:
        command = order.next_command()
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
