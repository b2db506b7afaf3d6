"""/stream sends 50 MB in 64 KiB chunks without a Content-Length, as a StreamingResponse does; / is the probe."""

from __future__ import annotations

from _lifespan import Receive, Scope, Send, serve_lifespan

CHUNK = b"x" * 65536
CHUNKS = 800
HEADERS = [(b"content-type", b"application/octet-stream")]


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await serve_lifespan(receive, send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    if scope["path"] == "/stream":
        for _ in range(CHUNKS):
            await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
