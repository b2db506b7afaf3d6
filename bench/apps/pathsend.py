"""One file by two apps: `app` is raw ASGI, `starlette_app` is Starlette's FileResponse.

Both use http.response.pathsend where the server offers it, and else read and send 64 KiB chunks, since that is
what an application has to do there. BENCH_FILE names the file.
"""

from __future__ import annotations

import os

from _lifespan import Receive, Scope, Send, serve_lifespan
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

PATH = os.environ.get("BENCH_FILE", __file__)
SIZE = os.stat(PATH).st_size
CHUNK = 65536


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await serve_lifespan(receive, send)
        return
    if scope["path"] != "/file":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})
        return
    headers = [(b"content-type", b"application/octet-stream"), (b"content-length", b"%d" % SIZE)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if "http.response.pathsend" in scope.get("extensions", {}):
        await send({"type": "http.response.pathsend", "path": PATH})
        return
    # Plain blocking reads from the page cache: the cheapest fallback an app can write, so the comparison is not
    # flattered by a slow thread-pool reader on the peer's side (starlette_app shows that one).
    with open(PATH, "rb", buffering=0) as file:  # noqa: ASYNC230 (see above)
        while chunk := file.read(CHUNK):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _probe(request: Request) -> Response:
    return PlainTextResponse("ok")


async def _file(request: Request) -> Response:
    return FileResponse(PATH)


starlette_app = Starlette(routes=[Route("/", _probe), Route("/file", _file)])
