from __future__ import annotations

import asyncio
import contextvars
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from typing import Any

from marks import MARKS, PIECES
from sse_starlette.sse import EventSourceResponse
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="unset")


class Base(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        response.headers["x-base"] = "1"
        return response


async def json(request: Request) -> Response:
    return JSONResponse({"hello": "world"})


def sync(request: Request) -> Response:
    return JSONResponse({"hello": "thread"})


async def item(request: Request) -> Response:
    return JSONResponse({"number": request.path_params["number"], "q": request.query_params.get("q", "")})


async def form(request: Request) -> Response:
    async with request.form() as form:
        return JSONResponse(dict(form))


async def echo(request: Request) -> Response:
    return Response(await request.body())


async def stream(request: Request) -> Response:
    async def pieces() -> AsyncIterator[str]:
        for piece in PIECES:
            yield piece
            await asyncio.sleep(0.001)

    return StreamingResponse(pieces(), media_type="text/plain")


async def sync_stream(request: Request) -> Response:
    def pieces() -> Iterator[str]:
        yield from PIECES

    return StreamingResponse(pieces(), media_type="text/plain")


async def background(request: Request) -> Response:
    return JSONResponse("accepted", background=BackgroundTask(MARKS.append, "background"))


async def marks(request: Request) -> Response:
    return JSONResponse(MARKS)


async def error(request: Request) -> Response:
    raise RuntimeError("an error of the application")


async def file(request: Request) -> Response:
    return FileResponse(os.environ["SAMPLE_FILE"])


async def endless(request: Request) -> Response:
    """Notes how it ended."""

    async def pieces() -> AsyncIterator[str]:
        try:
            while True:
                yield "tick "
                await asyncio.sleep(0.01)
        finally:
            MARKS.append(request.query_params["key"])

    return StreamingResponse(pieces(), media_type="text/plain")


async def sse(request: Request) -> Response:
    async def events() -> AsyncIterator[dict[str, Any]]:
        for i in range(3):
            yield {"event": "count", "data": str(i)}

    return EventSourceResponse(events())


async def endless_sse(request: Request) -> Response:
    async def events() -> AsyncIterator[dict[str, Any]]:
        try:
            while True:
                yield {"data": "tick"}
                await asyncio.sleep(0.01)
        finally:
            MARKS.append(request.query_params["key"])

    return EventSourceResponse(events())


async def disconnected(request: Request) -> Response:
    """Polls is_disconnected(), which cancels a receive() at once each time."""
    for _ in range(5):
        if await request.is_disconnected():
            return PlainTextResponse("gone")
        await asyncio.sleep(0.005)
    return PlainTextResponse("there")


async def context(request: Request) -> Response:
    VARIABLE.set("in the request")
    inside = await run_in_threadpool(VARIABLE.get)
    return PlainTextResponse(inside)


async def websocket(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text("accepted")
    await websocket.close()


routes = [
    Route("/json", json),
    Route("/sync", sync),
    Route("/items/{number:int}", item),
    Route("/form", form, methods=["POST"]),
    Route("/echo", echo, methods=["POST"]),
    Route("/stream", stream),
    Route("/sync_stream", sync_stream),
    Route("/background", background, methods=["POST"]),
    Route("/marks", marks),
    Route("/error", error),
    Route("/file", file),
    Route("/endless", endless),
    Route("/sse", sse),
    Route("/endless_sse", endless_sse),
    Route("/disconnected", disconnected),
    Route("/context", context),
    WebSocketRoute("/websocket", websocket),
    Mount("/static", StaticFiles(directory=os.environ.get("SAMPLE_DIR", tempfile.gettempdir()))),
]

app = Starlette(routes=routes)
wrapped = Starlette(routes=routes, middleware=[Middleware(Base), Middleware(Base)])
