from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import BackgroundTasks, Depends, FastAPI, Form, HTTPException, Request, UploadFile
from fastapi.middleware.cors import CORSMiddleware
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import FileResponse, Response, StreamingResponse
from marks import MARKS, PIECES
from pydantic import BaseModel


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    yield {"started": True}


app = FastAPI(lifespan=lifespan)
app.add_middleware(CORSMiddleware, allow_origins=["http://allowed.example"])
app.add_middleware(GZipMiddleware, minimum_size=2000)


class Item(BaseModel):
    name: str
    price: float


async def dependency(request: Request) -> AsyncIterator[str]:
    yield request.headers.get("x-name", "nobody")
    MARKS.append("closed")


@app.get("/json")
async def json() -> dict[str, str]:
    return {"hello": "world"}


@app.get("/sync")
def sync() -> dict[str, str]:
    return {"hello": "thread"}


@app.get("/items/{number}")
async def item(number: int, q: str = "") -> dict[str, Any]:
    return {"number": number, "q": q}


@app.post("/model")
async def model(item: Item) -> Item:
    return item


@app.post("/form")
async def form(a: Annotated[str, Form()], b: Annotated[str, Form()]) -> dict[str, str]:
    return {"a": a, "b": b}


@app.post("/upload")
async def upload(file: UploadFile) -> dict[str, Any]:
    data = await file.read()
    return {"name": file.filename, "size": len(data), "sum": sum(data)}


@app.post("/echo")
async def echo(request: Request) -> Response:
    return Response(await request.body())


@app.post("/echo_stream")
async def echo_stream(request: Request) -> StreamingResponse:
    return StreamingResponse(request.stream())


@app.get("/stream")
async def stream() -> StreamingResponse:
    async def pieces() -> AsyncIterator[str]:
        for piece in PIECES:
            yield piece
            await asyncio.sleep(0.001)

    return StreamingResponse(pieces())


@app.post("/background")
async def background(tasks: BackgroundTasks) -> str:
    tasks.add_task(MARKS.append, "background")
    return "accepted"


@app.get("/marks")
async def marks() -> list[str]:
    return MARKS


@app.get("/error")
async def error() -> None:
    raise RuntimeError("an error of the application")


@app.get("/teapot")
async def teapot() -> None:
    raise HTTPException(418, "short and stout")


@app.get("/depends")
async def depends(name: Annotated[str, Depends(dependency)]) -> str:
    return name


@app.get("/state")
async def state(request: Request) -> bool:
    started: bool = request.state.started
    return started


@app.get("/large")
async def large() -> list[int]:
    return list(range(20_000))


@app.get("/file")
async def file() -> FileResponse:
    return FileResponse(Path(os.environ["SAMPLE_FILE"]), filename="sample.bin")
