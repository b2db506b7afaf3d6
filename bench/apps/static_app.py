"""`app` for servers whose core answers /static, `starlette_app` with Starlette's StaticFiles for those that have none.

With BENCH_HOLD_MS set, Python holds the GIL for so long once a second, as a handler that computes would.
"""

from __future__ import annotations

import asyncio
import os
import time

from _lifespan import Receive, Scope, Send, serve_lifespan
from starlette.staticfiles import StaticFiles

HOLD_SECONDS = float(os.environ.get("BENCH_HOLD_MS", "0")) / 1e3
_files = StaticFiles(directory=os.environ.get("BENCH_STATIC", "."))
_holding: set[asyncio.Task[None]] = set()


async def _hold() -> None:
    while True:
        await asyncio.sleep(1.0 - HOLD_SECONDS)
        until = time.perf_counter() + HOLD_SECONDS
        while time.perf_counter() < until:
            pass


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        if HOLD_SECONDS > 0 and not _holding:
            _holding.add(asyncio.get_running_loop().create_task(_hold()))
        await serve_lifespan(receive, send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


async def starlette_app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http" and scope["path"].startswith("/static/"):
        await _files({**scope, "root_path": scope["root_path"] + "/static"}, receive, send)
    else:
        await app(scope, receive, send)
