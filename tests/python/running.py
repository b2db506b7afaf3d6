"""A server in a thread, an application that writes down what happens, and a client."""

from __future__ import annotations

import asyncio
import http.client
import threading
from collections.abc import Callable
from typing import Any, Self

from pyre.config import Config
from pyre.server import Server

HANG_GUARD = 20


async def hello(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        raise ValueError("no lifespan")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


class Recording:
    """An application with a lifespan that writes down what happens; `/wait` is answered after `release` was set."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.waiting = threading.Event()
        self.release = threading.Event()
        self.stop = threading.Event()
        self.stop.set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            self.events.append("startup")
            scope["state"]["made"] = "at startup"
            await send({"type": "lifespan.startup.complete"})
            await receive()
            while not self.stop.is_set():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            self.events.append("shutdown")
            await send({"type": "lifespan.shutdown.complete"})
            return
        if scope["path"] == "/wait":
            self.waiting.set()
            try:
                while not self.release.is_set():  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                self.events.append("cancelled")
                raise
        self.events.append("request")
        await hello(scope, receive, send)


class Running:
    """A server in a thread of its own."""

    def __init__(self, app: Any, **options: Any) -> None:
        options = {"host": "127.0.0.1", "port": 0, "access_log": False, **options}
        self.server = Server(Config(app, **options))
        self.exit_code: Any = None
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            self.server.run()
        except SystemExit as error:
            self.exit_code = error.code

    def __enter__(self) -> Self:
        self.thread.start()
        until(lambda: self.server.started or not self.thread.is_alive())
        return self

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.join()

    def join(self) -> None:
        self.thread.join(HANG_GUARD)
        assert not self.thread.is_alive(), "the server does not end"

    @property
    def port(self) -> int:
        return int(self.server.listeners[0].sock.getsockname()[1])

    def get(self, path: str = "/") -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=HANG_GUARD)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


def until(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(HANG_GUARD * 100):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("it never happened")


def get(port: int, path: str) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=HANG_GUARD)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException) as error:
        return error
    finally:
        connection.close()
