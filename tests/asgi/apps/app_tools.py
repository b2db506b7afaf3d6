"""What the test applications share: a table of handlers by path, a journal that tests can read, and short cuts."""

from __future__ import annotations

import collections
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

Scope = dict[str, Any]
Event = dict[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
Handler = Callable[[Scope, Receive, Send], Awaitable[None]]

JOURNAL: dict[str, list[Any]] = collections.defaultdict(list)


def note(key: str, value: Any) -> None:
    """Adds to what GET /journal?key gives; `value` must survive repr() and ast.literal_eval()."""
    JOURNAL[key].append(value)


async def start(send: Send, status: int = 200, headers: Iterable[tuple[bytes, bytes]] = (), **more: Any) -> None:
    await send({"type": "http.response.start", "status": status, "headers": list(headers), **more})


async def body(send: Send, data: bytes = b"", more_body: bool = False) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": more_body})


async def respond(
    send: Send, data: bytes | str = b"", status: int = 200, headers: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    raw = data.encode() if isinstance(data, str) else data
    await start(send, status, [(b"content-length", str(len(raw)).encode()), *headers])
    await body(send, raw)


async def read(receive: Receive) -> bytes:
    pieces = []
    while True:
        event = await receive()
        assert event["type"] == "http.request", event
        pieces.append(event.get("body", b""))
        if not event.get("more_body", False):
            return b"".join(pieces)


class Application:
    """An ASGI 3 application: handlers by path."""

    def __init__(self) -> None:
        self.handlers: dict[str, Handler] = {}

    def handler(self, function: Handler) -> Handler:
        self.handlers["/" + function.__name__] = function
        return function

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            while True:
                event = await receive()
                await send({"type": event["type"] + ".complete"})
                if event["type"] == "lifespan.shutdown":
                    return
        path = scope["path"]
        if path == "/journal":
            await respond(send, repr(JOURNAL[scope["query_string"].decode()]))
            return
        handler = self.handlers.get("/" + path.split("/")[1])
        if handler is None:
            await respond(send, "not found", 404)
            return
        await handler(scope, receive, send)
