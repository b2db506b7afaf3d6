"""Fast handlers, a slow one (/slow burns 5 ms of CPU) and a 1 ms call_later ticker that records how late it was woken.

/ticker answers the lag percentiles since the last time it was asked, in microseconds, and starts anew.
"""

from __future__ import annotations

import asyncio
import json
import time

from _lifespan import Receive, Scope, Send, serve_lifespan

BURN_SECONDS = 0.005
TICK_SECONDS = 0.001
# 1,000 samples a second: two minutes, so that a forgotten server does not grow without end.
MAX_SAMPLES = 120_000

_lags: list[float] = []
_ticking = False

HEADERS = [(b"content-type", b"text/plain"), (b"content-length", b"13")]


def _tick(loop: asyncio.AbstractEventLoop, due: float) -> None:
    now = time.perf_counter()
    if len(_lags) < MAX_SAMPLES:
        _lags.append(now - due)
    loop.call_later(TICK_SECONDS, _tick, loop, now + TICK_SECONDS)


def _start_ticking() -> None:
    global _ticking
    if not _ticking:
        _ticking = True
        loop = asyncio.get_running_loop()
        loop.call_later(TICK_SECONDS, _tick, loop, time.perf_counter() + TICK_SECONDS)


def _report() -> bytes:
    lags = sorted(_lags)
    _lags.clear()
    count = len(lags)
    report = {
        "count": float(count),
        "p50_us": lags[count // 2] * 1e6 if count else 0.0,
        "p99_us": lags[min(count - 1, count * 99 // 100)] * 1e6 if count else 0.0,
        "max_us": lags[-1] * 1e6 if count else 0.0,
    }
    return json.dumps(report).encode()


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await serve_lifespan(receive, send)
        return
    _start_ticking()
    path = scope["path"]
    if path == "/slow":
        # thread_time, not perf_counter: the burn is 5 ms of work even when another process has the core for a while.
        end = time.thread_time() + BURN_SECONDS
        while time.thread_time() < end:
            pass
    if path == "/ticker":
        body = _report()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        return
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": b"Hello, world!"})
