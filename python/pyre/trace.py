"""Logs every ASGI message on the logger `pyre.asgi`, for `--log-level trace`."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from pyre.logging import TRACE

logger = logging.getLogger("pyre.asgi")

Message = dict[str, Any]


def summary(message: Message) -> Message:
    """`message` with bodies and headers, which may be long or secret, replaced by their size."""
    short = dict(message)
    for name in ("body", "bytes", "text"):
        if short.get(name) is not None:
            short[name] = f"<{len(short[name])} {'chars' if name == 'text' else 'bytes'}>"
    if short.get("headers") is not None:
        short["headers"] = "<...>"
    return short


class TraceMiddleware:
    """An ASGI 3 application that logs what passes between the server and `app`."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self.app = app
        self._numbers = itertools.count(1)

    async def __call__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        client = scope.get("client")
        prefix = f"{client[0]}:{client[1]} - " if client else ""
        prefix += f"ASGI [{next(self._numbers)}]"

        async def traced_receive() -> Message:
            message = await receive()
            logger.log(TRACE, "%s Receive %s", prefix, summary(message))
            return message

        async def traced_send(message: Message) -> None:
            logger.log(TRACE, "%s Send %s", prefix, summary(message))
            await send(message)

        logger.log(TRACE, "%s Started scope=%s", prefix, summary(scope))
        try:
            await self.app(scope, traced_receive, traced_send)
        except BaseException:
            logger.log(TRACE, "%s Raised exception", prefix)
            raise
        logger.log(TRACE, "%s Completed", prefix)
