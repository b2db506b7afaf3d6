"""The smallest honest ASGI app: 13 bytes, two headers, no framework. What it costs is what the server costs."""

from __future__ import annotations

from _lifespan import Receive, Scope, Send, serve_lifespan

START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/plain"), (b"content-length", b"13")],
}
BODY = {"type": "http.response.body", "body": b"Hello, world!"}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await send(START)
        await send(BODY)
    elif scope["type"] == "lifespan":
        await serve_lifespan(receive, send)
