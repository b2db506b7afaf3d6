import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

from litestar import Litestar, Request, Response, get, post
from litestar.background_tasks import BackgroundTask
from litestar.enums import RequestEncodingType
from litestar.params import Body
from litestar.response import File, Stream
from marks import MARKS, PIECES


@get("/json")
async def json() -> dict[str, str]:
    return {"hello": "world"}


@get("/sync", sync_to_thread=True)
def sync() -> dict[str, str]:
    return {"hello": "thread"}


@get("/items/{number:int}")
async def item(number: int, q: str = "") -> dict[str, Any]:
    return {"number": number, "q": q}


@post("/form", status_code=200)
async def form(
    data: Annotated[dict[str, str], Body(media_type=RequestEncodingType.URL_ENCODED)],
) -> dict[str, str]:
    return data


@post("/echo", status_code=200)
async def echo(request: Request) -> bytes:
    return await request.body()


@get("/stream")
async def stream() -> Stream:
    async def pieces() -> AsyncIterator[str]:
        for piece in PIECES:
            yield piece
            await asyncio.sleep(0.001)

    return Stream(pieces())


async def mark() -> None:
    MARKS.append("background")


@post("/background", status_code=200)
async def background() -> Response[str]:
    return Response("accepted", background=BackgroundTask(mark))


@get("/marks")
async def marks() -> list[str]:
    return MARKS


@get("/error")
async def error() -> None:
    raise RuntimeError("an error of the application")


@get("/file")
async def file() -> File:
    return File(Path(os.environ["SAMPLE_FILE"]))


app = Litestar([json, sync, item, form, echo, stream, background, marks, error, file])
