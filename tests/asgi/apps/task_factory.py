"""Sets a task factory at start-up: requests run in the factory's tasks."""

from __future__ import annotations

import asyncio
from typing import Any

from app_tools import Receive, Scope, Send, respond


class MarkedTask(asyncio.Task):  # type: ignore[type-arg]
    pass


def factory(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
    return MarkedTask(coroutine, loop=loop, **options)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        asyncio.get_running_loop().set_task_factory(factory)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    task = asyncio.current_task()
    assert isinstance(task, MarkedTask), repr(task)
    await asyncio.sleep(0)
    assert asyncio.current_task() is task
    await respond(send, "ok")
