"""A Starlette route that returns a small JSON object: the usual share of framework in a request."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


async def hello(request: Request) -> JSONResponse:
    return JSONResponse({"message": "Hello, world!", "items": [1, 2, 3]})


app = Starlette(routes=[Route("/", hello)])
