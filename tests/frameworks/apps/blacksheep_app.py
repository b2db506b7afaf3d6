from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

from blacksheep import Application, Content, Request, Response, StreamedContent, get, json, post
from marks import MARKS, PIECES

app = Application()


@get("/json")
async def hello() -> Any:
    return json({"hello": "world"})


@get("/sync")
def sync() -> Any:
    return json({"hello": "thread"})


@get("/items/{number}")
async def item(number: int, q: str = "") -> Any:
    return json({"number": number, "q": q})


@post("/form")
async def form(request: Request) -> Any:
    return json(await request.form())


@post("/echo")
async def echo(request: Request) -> Any:
    return Response(200, content=Content(b"application/octet-stream", await request.read() or b""))


@get("/stream")
async def stream() -> Any:
    async def pieces() -> AsyncIterator[bytes]:
        for piece in PIECES:
            yield piece.encode()
            await asyncio.sleep(0.001)

    return Response(200, content=StreamedContent(b"text/plain", pieces))


@post("/background")
async def background() -> Any:
    asyncio.get_running_loop().call_later(0.01, MARKS.append, "background")
    return json("accepted")


@get("/marks")
async def marks() -> Any:
    return json(MARKS)


@get("/error")
async def error() -> Any:
    raise RuntimeError("an error of the application")


@get("/file")
async def file() -> Any:
    path = os.environ["SAMPLE_FILE"]

    async def pieces() -> AsyncIterator[bytes]:
        with open(path, "rb") as file:  # noqa: ASYNC230 - what people write
            while piece := file.read(65536):
                yield piece

    return Response(200, content=StreamedContent(b"application/octet-stream", pieces, os.path.getsize(path)))
