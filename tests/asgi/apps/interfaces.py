"""ASGI 2, in its shapes, and WSGI."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from app_tools import Receive, Scope, Send, read, respond

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]


def double(scope: Scope) -> Callable[[Receive, Send], Any]:
    """ASGI 2 as a function that returns the instance."""
    if scope["type"] == "lifespan":
        raise RuntimeError("ASGI 2 has no lifespan")

    async def instance(receive: Receive, send: Send) -> None:
        await respond(send, scope["path"].encode() + await read(receive))

    return instance


class Double:
    """ASGI 2 as a class."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    async def __call__(self, receive: Receive, send: Send) -> None:
        if self.scope["type"] == "lifespan":
            raise RuntimeError("no lifespan")
        await respond(send, self.scope["path"].encode() + await read(receive))


class Single:
    """ASGI 3 as an object with an async __call__."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            raise RuntimeError("no lifespan")
        await respond(send, scope["path"].encode() + await read(receive))


single = Single()


class Methods:
    async def run(self, scope: Scope, receive: Receive, send: Send) -> None:
        await single(scope, receive, send)


method = Methods().run

# ---- WSGI

CLOSED: list[str] = []


class Result:
    def __init__(self, pieces: Iterator[bytes], name: str) -> None:
        self.pieces = pieces
        self.name = name

    def __iter__(self) -> Iterator[bytes]:
        return self.pieces

    def close(self) -> None:
        CLOSED.append(self.name)


def wsgi(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    if path == "/environ":
        plain = {key: value for key, value in environ.items() if isinstance(value, (str, int, bool, tuple))}
        data = repr(plain).encode()
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(data)))])
        return [data]
    if path == "/echo":
        data = environ["wsgi.input"].read()
        start_response("201 Created", [("Content-Length", str(len(data))), ("X-Twice", "1"), ("X-Twice", "2")])
        return [data]
    if path == "/lines":
        lines = list(environ["wsgi.input"])
        start_response("200 OK", [])
        return [repr(lines).encode()]
    if path == "/stream":
        start_response("200 OK", [])
        return Result(iter([b"one ", b"", b"two ", b"three"]), "stream")
    if path == "/endless":
        start_response("200 OK", [])
        return Result(endless(), "endless")
    if path == "/large":
        start_response("200 OK", [("Content-Length", str(64 << 20))])
        return Result(iter([b"x" * (1 << 20)] * 64), "large")
    if path == "/write":
        write = start_response("200 OK", [])
        write(b"written ")
        return [b"returned"]
    if path == "/error":
        raise RuntimeError("before start_response")
    if path == "/late_error":
        start_response("200 OK", [])
        return Result(failing(), "late_error")
    if path == "/exc_info":
        start_response("200 OK", [])
        try:
            raise ValueError("replaced")
        except ValueError:
            start_response("500 Replaced", [("X-Replaced", "1")], sys.exc_info())
        return [b"replaced"]
    if path == "/no_start":
        return [b"nothing"]
    if path == "/sleep":
        time.sleep(0.3)
        start_response("200 OK", [])
        return [threading.current_thread().name.encode()]
    if path == "/closed":
        start_response("200 OK", [])
        return [repr(CLOSED).encode()]
    start_response("404 Not Found", [("Content-Length", "0")])
    return []


def endless() -> Iterator[bytes]:
    while True:
        yield b"x" * 65536


def failing() -> Iterator[bytes]:
    yield b"some"
    raise RuntimeError("in the middle")
