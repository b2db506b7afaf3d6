"""Starlette: JSON, a path parameter, lifespan state, and a file that the kernel sends (``http.response.pathsend``)."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypedDict

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route


class State(TypedDict):
    started: float


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[State]:
    yield {"started": time.time()}


async def home(request: Request) -> Response:
    return JSONResponse({"hello": "world", "up_s": round(time.time() - request.state.started, 3)})


async def greet(request: Request) -> Response:
    return JSONResponse({"hello": request.path_params["name"]})


async def source(request: Request) -> Response:
    return FileResponse(Path(__file__), media_type="text/x-python")


app = Starlette(
    routes=[Route("/", home), Route("/greet/{name}", greet), Route("/source", source)],
    lifespan=lifespan,
)
