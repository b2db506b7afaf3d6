"""Applications with every kind of lifespan. Those that write to a file find its name in LIFESPAN_FILE."""

from __future__ import annotations

import asyncio
import contextvars
import os
from typing import Any

from app_tools import Receive, Scope, Send, respond

VARIABLE = contextvars.ContextVar("VARIABLE", default="unset")


def write(text: str) -> None:
    with open(os.environ["LIFESPAN_FILE"], "a") as file:
        file.write(text + "\n")


async def answer(scope: Scope, send: Send) -> None:
    state = scope.get("state")
    await respond(
        send, repr(None if state is None else {key: value for key, value in state.items() if key != "shared"})
    )


async def complete(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        assert scope["asgi"]["version"] == "3.0"
        assert (await receive())["type"] == "lifespan.startup"
        write("startup")
        scope["state"]["number"] = 1
        scope["state"]["shared"] = []
        VARIABLE.set("from lifespan")
        await send({"type": "lifespan.startup.complete"})
        assert (await receive())["type"] == "lifespan.shutdown"
        write("shutdown")
        await asyncio.sleep(0.05)
        await send({"type": "lifespan.shutdown.complete"})
        write("end")
        return
    if scope["path"] == "/write":
        scope["state"]["number"] += 1
        scope["state"]["own"] = True
        scope["state"]["shared"].append(1)
    if scope["path"] == "/shared":
        await respond(send, repr(scope["state"]["shared"]))
        return
    if scope["path"] == "/variable":
        await respond(send, VARIABLE.get())
        return
    if scope["path"] == "/slow":
        write("request")
        await asyncio.sleep(0.5)
        write("answered")
    await answer(scope, send)


async def raises(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        raise ValueError("no lifespan here")
    await answer(scope, send)


async def raises_after_receive(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        raise ValueError("no lifespan here either")
    await answer(scope, send)


async def returns(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        return
    await answer(scope, send)


async def fails(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "lifespan"
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "the database is away"})


async def fails_to_stop(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.failed", "message": "could not say goodbye"})
        return
    await answer(scope, send)


async def wrong_message(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "lifespan"
    await receive()
    await send({"type": "http.response.start", "status": 200})


async def slow_start(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await asyncio.sleep(0.5)
        write("started")
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    write("request")
    await answer(scope, send)


async def not_asked(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        write("asked")
        raise RuntimeError("asked")
    await answer(scope, send)


class Made:
    def __init__(self) -> None:
        self.kind = "a factory's"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        if scope["type"] == "lifespan":
            raise NotImplementedError
        await respond(send, self.kind)


def factory() -> Made:
    return Made()
