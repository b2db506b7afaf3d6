"""Asks a server that has two event loops, each on a thread of its own: for the tests of free-threaded Python."""

from __future__ import annotations

import contextlib
import json
import sysconfig
from collections.abc import Iterator
from typing import Any

import pytest
from serving import Server
from wire import Wire

FREE_THREADED = [
    pytest.mark.pyre_only("uvicorn has no event loops on threads"),
    pytest.mark.skipif(
        not sysconfig.get_config_var("Py_GIL_DISABLED"),
        reason="this Python has a GIL; ./scripts/test free-threaded has one that has none",
    ),
]

TWO = ("--worker-mode", "thread", "--worker-threads", "2")


@contextlib.contextmanager
def wires(server: Server, count: int) -> Iterator[list[Wire]]:
    """Connections that are open at the same time: those next to each other are with different loops."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(server.connect()) for _ in range(count)]


@contextlib.contextmanager
def on_each_loop(server: Server) -> Iterator[tuple[Wire, Wire]]:
    """A connection that the first of two loops has, and one of the second's."""
    with contextlib.ExitStack() as stack:
        found: dict[str, Wire] = {}
        while len(found) < 2:
            with contextlib.ExitStack() as attempt:
                wire = attempt.enter_context(server.connect())
                if found.setdefault(where(wire)["thread"], wire) is wire:
                    stack.push(attempt.pop_all())
        yield found["pyre.loop-0"], found["pyre.loop-1"]


def ask(wire: Wire, path: str) -> str:
    wire.request("GET", path)
    text: str = wire.response().text
    return text


def where(wire: Wire) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(ask(wire, "/where"))
    return told
