"""The server's side of a WSGI application under test: a scope, and what is received and sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from pyre.wsgi import WSGIAdapter

HANG_GUARD = 20


def scope_of(**changes: Any) -> dict[str, Any]:
    return {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "root_path": "",
        "headers": [],
        "client": ("192.0.2.1", 4321),
        "server": ("127.0.0.1", 8000),
        **changes,
    }


class Client:
    """The server's side of ASGI: pieces of a body to receive, a list of what was sent, a point at which the client
    goes."""

    def __init__(self, pieces: list[bytes] | None = None, gone_after: int | None = None) -> None:
        self.pieces = list(pieces or [])
        self.sent: list[dict[str, Any]] = []
        self.received = 0
        self.gone_after = gone_after
        self.on_send: Callable[[], Any] | None = None

    async def receive(self) -> dict[str, Any]:
        if not self.pieces:
            return {"type": "http.disconnect"}
        self.received += 1
        return {"type": "http.request", "body": self.pieces.pop(0), "more_body": bool(self.pieces)}

    async def send(self, message: dict[str, Any]) -> None:
        if self.gone_after is not None and len(self.sent) >= self.gone_after:
            raise ConnectionResetError("gone")
        self.sent.append(message)
        if self.on_send is not None:
            await self.on_send()

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    @property
    def start(self) -> dict[str, Any]:
        return self.sent[0]


def serve(app: Any, client: Client | None = None, threads: int = 2, **changes: Any) -> Client:
    client = client or Client()

    async def main() -> None:
        adapter = WSGIAdapter(app, threads)
        try:
            await asyncio.wait_for(adapter(scope_of(**changes), client.receive, client.send), HANG_GUARD)
        finally:
            adapter.close()

    asyncio.run(main())
    return client
