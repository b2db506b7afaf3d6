"""Answers every request with its scope, whatever the path."""

from __future__ import annotations

from app_tools import Receive, Scope, Send, respond


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        raise NotImplementedError("no lifespan")
    await respond(send, repr({key: value for key, value in scope.items() if key != "state"}))
