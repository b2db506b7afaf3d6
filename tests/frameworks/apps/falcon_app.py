from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import falcon
import falcon.asgi
from falcon.asgi import Request, Response
from marks import MARKS, PIECES


class Json:
    async def on_get(self, request: Request, response: Response) -> None:
        response.media = {"hello": "world"}


class Sync:
    async def on_get(self, request: Request, response: Response) -> None:
        response.media = {"hello": await asyncio.to_thread(lambda: "thread")}


class Item:
    async def on_get(self, request: Request, response: Response, number: int) -> None:
        response.media = {"number": number, "q": request.get_param("q", default="")}


class Form:
    async def on_post(self, request: Request, response: Response) -> None:
        response.media = await request.get_media()


class Echo:
    async def on_post(self, request: Request, response: Response) -> None:
        response.data = await request.stream.read()


class Stream:
    async def on_get(self, request: Request, response: Response) -> None:
        async def pieces() -> AsyncIterator[bytes]:
            for piece in PIECES:
                yield piece.encode()
                await asyncio.sleep(0.001)

        response.stream = pieces()


class Background:
    async def on_post(self, request: Request, response: Response) -> None:
        async def mark() -> None:
            MARKS.append("background")

        response.schedule(mark)
        response.media = "accepted"


class Marks:
    async def on_get(self, request: Request, response: Response) -> None:
        response.media = MARKS


class Error:
    async def on_get(self, request: Request, response: Response) -> None:
        raise RuntimeError("an error of the application")


class File:
    async def on_get(self, request: Request, response: Response) -> None:
        path = os.environ["SAMPLE_FILE"]

        async def pieces() -> AsyncIterator[bytes]:
            with open(path, "rb") as file:  # noqa: ASYNC230 - what people write
                while piece := file.read(65536):
                    yield piece

        response.set_stream(pieces(), os.path.getsize(path))


app = falcon.asgi.App()
app.add_route("/json", Json())
app.add_route("/sync", Sync())
app.add_route("/items/{number:int}", Item())
app.add_route("/form", Form())
app.add_route("/echo", Echo())
app.add_route("/stream", Stream())
app.add_route("/background", Background())
app.add_route("/marks", Marks())
app.add_route("/error", Error())
app.add_route("/file", File())
