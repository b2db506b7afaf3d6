"""How an I/O thread wakes an event loop that cannot watch handles (Proactor): by a byte through a socket pair."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable


class Receiver:
    """Keeps a receive outstanding on the socket `handle`, which it takes over, and has `loop` call `callback` after
    each burst of bytes. The callback runs by itself, in no task: it starts tasks."""

    def __init__(self, loop: asyncio.AbstractEventLoop, handle: int, callback: Callable[[], None]) -> None:
        self._loop = loop
        self._callback = callback
        self._socket = socket.socket(fileno=handle)
        self._buffer = bytearray(64)  # the bytes say nothing; a burst is one byte
        self._closed = False
        self._task = self._start()

    def _start(self) -> asyncio.Task[None]:
        task = self._loop.create_task(self._receive(), name="pyre-wake")
        task.add_done_callback(self._ended)
        return task

    async def _receive(self) -> None:
        while await self._loop.sock_recv_into(self._socket, self._buffer):
            self._loop.call_soon(self._callback)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if self._closed or self._loop.is_closed():
            self._socket.close()
        elif task.cancelled():  # by an application that cancels every task it sees
            self._task = self._start()

    def close(self) -> None:
        """The callback is not called any more."""
        self._closed = True
        self._callback = _nothing
        if not self._loop.is_closed():
            self._task.cancel()


def _nothing() -> None:
    pass
