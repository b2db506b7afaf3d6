"""Responses that are compressed, and responses that must not be."""

from __future__ import annotations

import asyncio
import os
import random
from typing import Any

from app_tools import Application, Receive, Scope, Send, body, note, respond, start

app = Application()
TEXT = b"".join(
    b'{"id": %d, "name": "user %d", "tags": ["alpha", "beta"]},\n' % (i, i * 7919 % 1000) for i in range(40_000)
)
TEXT_TYPE = (b"content-type", b"text/plain; charset=utf-8")


def number(scope: Scope) -> int:
    return int(scope["query_string"] or b"0")


@app.handler
async def text(scope: Scope, receive: Receive, send: Send) -> None:
    await respond(send, TEXT[: number(scope)], headers=[TEXT_TYPE])
    # For the application it is over, wherever the encoder is.
    note("text", (await receive())["type"])


@app.handler
async def typed(scope: Scope, receive: Receive, send: Send) -> None:
    await respond(send, TEXT[:10_000], headers=[(b"Content-Type", scope["query_string"])])


@app.handler
async def with_field(scope: Scope, receive: Receive, send: Send) -> None:
    """?name=value: 10,000 bytes of text with that header field."""
    name, _, value = scope["query_string"].replace(b"%20", b" ").partition(b"=")
    await respond(send, TEXT[:10_000], headers=[TEXT_TYPE, (name, value)])


@app.handler
async def with_status(scope: Scope, receive: Receive, send: Send) -> None:
    await start(send, number(scope), [TEXT_TYPE])
    await body(send, b"" if number(scope) in (204, 304) else TEXT[:10_000])


@app.handler
async def noise(scope: Scope, receive: Receive, send: Send) -> None:
    await respond(send, random.Random(1).randbytes(number(scope)), headers=[TEXT_TYPE])


@app.handler
async def pieces(scope: Scope, receive: Receive, send: Send) -> None:
    """?n: pieces of n bytes, in one go, without a length."""
    await start(send, headers=[TEXT_TYPE])
    for at in range(0, 1_000_000, number(scope)):
        await body(send, TEXT[at : min(at + number(scope), 1_000_000)], more_body=True)
    await body(send)
    note("pieces", "sent")


@app.handler
async def two_steps(scope: Scope, receive: Receive, send: Send) -> None:
    """Head and body in one turn of the loop, as frameworks with streaming middleware do."""
    await start(send, headers=[TEXT_TYPE])
    await body(send, TEXT[: number(scope)], more_body=True)
    await body(send)


events: dict[str, asyncio.Event] = {}


@app.handler
async def stream(scope: Scope, receive: Receive, send: Send) -> None:
    """?key: an event each time that /tick?key is asked for; ends with the fourth."""
    key = scope["query_string"].decode()
    event = events[key] = asyncio.Event()
    await start(send, headers=[(b"content-type", b"text/event-stream")])
    for i in range(4):
        await event.wait()
        event.clear()
        await body(send, b"data: event %d of %s\n\n" % (i, key.encode()), more_body=i < 3)


@app.handler
async def tick(scope: Scope, receive: Receive, send: Send) -> None:
    events[scope["query_string"].decode()].set()
    await respond(send, b"ok")


@app.handler
async def head_first(scope: Scope, receive: Receive, send: Send) -> None:
    """The head goes out before there is anything of the body."""
    await start(send, headers=[TEXT_TYPE])
    await asyncio.sleep(0.05)
    await body(send, TEXT[: number(scope)])


@app.handler
async def wrong_length(scope: Scope, receive: Receive, send: Send) -> None:
    """?n: a body of n bytes where 10,000 are told."""
    await start(send, headers=[TEXT_TYPE, (b"content-length", b"10000")])
    try:
        await body(send, TEXT[: number(scope)])
    except Exception as error:
        note("wrong_length", str(error))
        await body(send, TEXT[:10_000])


@app.handler
async def after_the_end(scope: Scope, receive: Receive, send: Send) -> None:
    await respond(send, TEXT[:200_000], headers=[TEXT_TYPE])
    try:
        await body(send, b"more")
    except Exception as error:
        note("after_the_end", type(error).__name__)


@app.handler
async def raises(scope: Scope, receive: Receive, send: Send) -> None:
    """In the middle of a coded body."""
    await start(send, headers=[TEXT_TYPE])
    await body(send, TEXT[:300_000], more_body=True)
    await asyncio.sleep(0.05)
    raise RuntimeError("in the middle")


@app.handler
async def endless(scope: Scope, receive: Receive, send: Send) -> None:
    await start(send, headers=[TEXT_TYPE])
    sent = 0
    try:
        while True:
            await body(send, os.urandom(100_000), more_body=True)
            sent += 100_000
    finally:
        note("endless", sent)


@app.handler
async def file(scope: Scope, receive: Receive, send: Send) -> None:
    """?path: a piece of text, and behind it 300,000 bytes of the file by zero copy."""
    path = scope["query_string"].decode()
    await start(send, headers=[TEXT_TYPE])
    await body(send, TEXT[:5000], more_body=True)
    with open(path, "rb") as opened:
        event: dict[str, Any] = {"type": "http.response.zerocopysend", "file": opened, "offset": 0, "count": 300_000}
        await send({**event, "more_body": True})
    await body(send, b"the end")


@app.handler
async def trailers(scope: Scope, receive: Receive, send: Send) -> None:
    await start(send, headers=[TEXT_TYPE, (b"trailer", b"x-sum")], trailers=True)
    await body(send, TEXT[:10_000])
    await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"1")], "more_trailers": False})


@app.handler
async def not_modified(scope: Scope, receive: Receive, send: Send) -> None:
    await start(send, 304, [(b"etag", b'"abc"')])
    await body(send)


@app.handler
async def wrong_length_later(scope: Scope, receive: Receive, send: Send) -> None:
    """As wrong_length, but the right body comes a turn later."""
    await start(send, headers=[TEXT_TYPE, (b"content-length", b"10000")])
    try:
        await body(send, TEXT[: number(scope)])
    except Exception:
        await asyncio.sleep(0.05)
        await body(send, TEXT[:10_000])


@app.handler
async def whole_file(scope: Scope, receive: Receive, send: Send) -> None:
    path = scope["query_string"].decode()
    await start(send, headers=[TEXT_TYPE, (b"content-length", str(os.path.getsize(path)).encode())])
    await send({"type": "http.response.pathsend", "path": path})


async def _send(send: Send, event: dict[str, Any]) -> None:
    await send(event)


@app.handler
async def shrinking_file(scope: Scope, receive: Receive, send: Send) -> None:
    path = scope["query_string"].decode()
    await start(send, headers=[TEXT_TYPE])
    await body(send, TEXT[:5000], more_body=True)
    await asyncio.sleep(0.05)
    with open(path, "r+b") as opened:
        event = {
            "type": "http.response.zerocopysend",
            "file": opened,
            "offset": 0,
            "count": 30_000_000,
            "more_body": True,
        }
        sending = asyncio.create_task(_send(send, event))
        await asyncio.sleep(0.2)
        opened.truncate(1000)
        note("shrinking_file", "shorter")
        try:
            await sending
            await body(send, TEXT[:300_000], more_body=True)
            await asyncio.sleep(30)
        except OSError:
            note("shrinking_file", "OSError")
