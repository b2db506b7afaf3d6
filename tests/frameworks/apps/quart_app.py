from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

from marks import MARKS, PIECES
from quart import Quart, jsonify, request, send_file

app = Quart(__name__)


@app.get("/json")
async def json() -> Any:
    return jsonify({"hello": "world"})


@app.get("/sync")
def sync() -> Any:
    return jsonify({"hello": "thread"})


@app.get("/items/<int:number>")
async def item(number: int) -> Any:
    return jsonify({"number": number, "q": request.args.get("q", "")})


@app.post("/form")
async def form() -> Any:
    return jsonify(dict(await request.form))


@app.post("/echo")
async def echo() -> Any:
    return await request.get_data()


@app.get("/stream")
async def stream() -> Any:
    async def pieces() -> AsyncIterator[str]:
        for piece in PIECES:
            yield piece
            await asyncio.sleep(0.001)

    return pieces()


@app.post("/background")
async def background() -> Any:
    async def mark() -> None:
        MARKS.append("background")

    app.add_background_task(mark)
    return jsonify("accepted")


@app.get("/marks")
async def marks() -> Any:
    return jsonify(MARKS)


@app.get("/error")
async def error() -> Any:
    raise RuntimeError("an error of the application")


@app.get("/file")
async def file() -> Any:
    return await send_file(os.environ["SAMPLE_FILE"])
