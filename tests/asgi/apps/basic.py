"""Scopes, requests and responses."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

from app_tools import Application, Receive, Scope, Send, body, note, read, respond, start

app = Application()


def query(scope: Scope) -> str:
    text: str = scope["query_string"].decode()
    return text


@app.handler
async def scope(scope: Scope, receive: Receive, send: Send) -> None:
    plain: dict[str, Any] = {key: value for key, value in scope.items() if key not in ("state", "app")}
    await respond(send, repr(plain))


@app.handler
async def spoil(scope: Scope, receive: Receive, send: Send) -> None:
    """Writes into everything of the scope that can be written to."""
    scope["headers"].append((b"x-spoiled", b"1"))
    scope["extensions" if "extensions" in scope else "asgi"]["spoiled"] = {}
    scope["asgi"]["spoiled"] = "1"
    scope.get("state", {})["spoiled"] = 1
    scope["path"] = "/spoiled"
    scope["spoiled"] = True
    await respond(send, "done")


@app.handler
async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await respond(send, "Hello, world!")


@app.handler
async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    await respond(send, await read(receive))


@app.handler
async def digest(scope: Scope, receive: Receive, send: Send) -> None:
    total = 0
    sha = hashlib.sha256()
    while True:
        event = await receive()
        sha.update(event["body"])
        total += len(event["body"])
        if not event["more_body"]:
            break
    await respond(send, f"{total} {sha.hexdigest()}")


@app.handler
async def events(scope: Scope, receive: Receive, send: Send) -> None:
    """The request's events as they came."""
    seen = []
    while True:
        event = await receive()
        seen.append(event)
        if event["type"] != "http.request" or not event.get("more_body", False):
            break
    await respond(send, repr(seen))


@app.handler
async def each_event(scope: Scope, receive: Receive, send: Send) -> None:
    """Notes each piece of the body when it comes."""
    more = True
    while more:
        event = await receive()
        more = event["more_body"]
        note(query(scope), event["body"])
    await respond(send, "done")


@app.handler
async def slow(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.sleep(float(query(scope)))
    await respond(send, "slow")


@app.handler
async def ignore_body(scope: Scope, receive: Receive, send: Send) -> None:
    await respond(send, "not read")


@app.handler
async def refuse_body(scope: Scope, receive: Receive, send: Send) -> None:
    await respond(send, "too much", 413)


@app.handler
async def late_read(scope: Scope, receive: Receive, send: Send) -> None:
    note(query(scope), "started")
    await asyncio.sleep(0.3)
    note(query(scope), "reading")
    await respond(send, await read(receive))


@app.handler
async def start_then_read(scope: Scope, receive: Receive, send: Send) -> None:
    await start(send, headers=[(b"content-type", b"text/plain")])
    await body(send, b"early ", True)
    await body(send, await read(receive))


@app.handler
async def slow_read(scope: Scope, receive: Receive, send: Send) -> None:
    """Waits for GET /go?key, then reads."""
    note(query(scope), "waiting")
    await gate(query(scope)).wait()
    total = 0
    while True:
        event = await receive()
        total += len(event["body"])
        if not event["more_body"]:
            break
    await respond(send, str(total))


@app.handler
async def until_disconnect(scope: Scope, receive: Receive, send: Send) -> None:
    """Notes the type of each event; after the body it goes on until http.disconnect."""
    kind = ""
    while kind != "http.disconnect":
        event = await receive()
        kind = event["type"]
        note(query(scope), kind)


GATES: dict[str, asyncio.Event] = {}


def gate(key: str) -> asyncio.Event:
    return GATES.setdefault(key, asyncio.Event())


@app.handler
async def go(scope: Scope, receive: Receive, send: Send) -> None:
    gate(query(scope)).set()
    await respond(send, "gone")


@app.handler
async def wait(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers after GET /go?key."""
    note(query(scope), "waiting")
    await gate(query(scope)).wait()
    await respond(send, "waited")


# ---- responses


@app.handler
async def chunks(scope: Scope, receive: Receive, send: Send) -> None:
    await start(send, headers=[(b"content-type", b"text/plain")])
    for piece in (b"one ", b"", b"two ", b"three"):
        await body(send, piece, True)
    await body(send)


@app.handler
async def one_piece(scope: Scope, receive: Receive, send: Send) -> None:
    """No Content-Length, and a body that is complete at once."""
    await start(send)
    await body(send, b"complete")


@app.handler
async def no_body_key(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body"})


@app.handler
async def status(scope: Scope, receive: Receive, send: Send) -> None:
    """/status?204: that status and no body; /status?204,text: with the body `text`, which must not be sent."""
    code, _, text = query(scope).partition(",")
    await start(send, int(code))
    await body(send, text.encode())


@app.handler
async def length(scope: Scope, receive: Receive, send: Send) -> None:
    """Content-Length 10, and for HEAD no body at all."""
    await start(send, headers=[(b"content-length", b"10")])
    await body(send, b"" if scope["method"] == "HEAD" else b"0123456789")


@app.handler
async def pieces(scope: Scope, receive: Receive, send: Send) -> None:
    """Content-Length and three pieces."""
    await start(send, headers=[(b"content-length", b"11")])
    await body(send, b"hello", True)
    await body(send, b" ", True)
    await body(send, b"world")


@app.handler
async def fields(scope: Scope, receive: Receive, send: Send) -> None:
    headers = [
        (b"set-cookie", b"a=1"),
        (b"X-Mixed-Case", b"  padded\t"),
        (b"set-cookie", b"b=2"),
        (b"x-latin", b"caf\xe9"),
        (b"x-empty", b""),
    ]
    await respond(send, "fields", headers=headers)


@app.handler
async def own_date(scope: Scope, receive: Receive, send: Send) -> None:
    await respond(send, "date", headers=[(b"Date", b"Thu, 01 Jan 1970 00:00:00 GMT"), (b"Server", b"mine")])


@app.handler
async def close(scope: Scope, receive: Receive, send: Send) -> None:
    await respond(send, "bye", headers=[(b"Connection", b"close")])


@app.handler
async def hop_by_hop(scope: Scope, receive: Receive, send: Send) -> None:
    await start(send, headers=[(b"transfer-encoding", b"chunked"), (b"connection", b"keep-alive")])
    await body(send, b"one ", True)
    await body(send, b"two")


@app.handler
async def buffers(scope: Scope, receive: Receive, send: Send) -> None:
    """bytes-like bodies, changed by the application as soon as send() returned."""
    await start(send)
    data = bytearray(b"bytearray ")
    await body(send, data, True)
    data[:] = b"CHANGED!! "
    view = bytearray(b"memoryview ")
    await body(send, memoryview(view), True)
    view[:] = b"CHANGED!!! "
    await body(send, memoryview(b"(a part)")[1:-1])


@app.handler
async def iterables(scope: Scope, receive: Receive, send: Send) -> None:
    await send(
        {"type": "http.response.start", "status": 200, "headers": ([b"x-a", b"1"] for _ in range(2)), "unknown": 1}
    )
    await send({"type": "http.response.body", "body": b"ok", "unknown": 1})


@app.handler
async def large(scope: Scope, receive: Receive, send: Send) -> None:
    """/large?pieces,size"""
    count, size = map(int, query(scope).split(","))
    await start(send, headers=[(b"content-length", str(count * size).encode())])
    for i in range(count):
        await body(send, bytes([65 + i % 26]) * size, i + 1 < count)
