"""Handlers that block their event loop, and objects that tell where they died."""

from __future__ import annotations

import asyncio
import gc
import json
import random
import tempfile
import threading
import time
from pathlib import Path
from typing import Self

from app_tools import Application, Receive, Scope, Send, body, note, read, respond, start

app = Application()


def query(scope: Scope) -> str:
    text: str = scope["query_string"].decode()
    return text


class Body(bytes):
    """Notes under `key` whether it was dropped on the thread that made it."""

    key: str

    def __new__(cls, data: bytes, key: str) -> Self:
        self = super().__new__(cls, data)
        self.key = key
        self.thread = threading.get_ident()
        return self

    def __del__(self) -> None:
        note(self.key, threading.get_ident() == self.thread)


@app.handler
async def hang(scope: Scope, receive: Receive, send: Send) -> None:
    """Until the client makes a file of that name, in the directory for temporary ones; not for ever."""
    name = Path(tempfile.gettempdir()) / query(scope)
    name.with_suffix(".began").touch()
    until = time.monotonic() + 60
    while not name.with_suffix(".over").exists():
        assert time.monotonic() < until
        time.sleep(0.01)
    await respond(send, "hung")


@app.handler
async def linger(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.sleep(float(query(scope)))
    await respond(send, "lingered")


@app.handler
async def engine_stats(scope: Scope, receive: Receive, send: Send) -> None:
    """Those of the server that runs this, as JSON."""
    from pyre.server import Server

    (server,) = (item for item in gc.get_objects() if isinstance(item, Server))
    assert server._engine is not None
    await respond(send, json.dumps(server._engine.stats()))


@app.handler
async def objects(scope: Scope, receive: Receive, send: Send) -> None:
    """Ten pieces that the server borrows; more than a client that does not read can take."""
    key, size = query(scope).split(",")
    await start(send)
    for _ in range(10):
        await body(send, Body(b"x" * int(size), key), True)
    await body(send)


@app.handler
async def doze(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers at once, in the next iteration, or some other time."""
    data = await read(receive)
    choice = random.random()
    if choice > 0.4:
        await asyncio.sleep(0 if choice < 0.7 else choice / 500)
    await respond(send, data or query(scope))


@app.handler
async def stream(scope: Scope, receive: Receive, send: Send) -> None:
    """Pieces of the given sizes, with and without a pause between them."""
    await start(send)
    for size in query(scope).split(","):
        if random.random() < 0.3:
            await asyncio.sleep(0.001)
        await body(send, b"y" * int(size), True)
    await body(send)
