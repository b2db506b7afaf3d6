"""How an I/O thread wakes an event loop that cannot watch handles (Proactor): by a byte through a socket pair."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

# Between a failure and the next try: what fails for good must neither spin nor fill the log.
_PAUSE_S = 0.1


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
        # Not by the loop's task factory, which is the application's: since Python 3.13.3 it is given what create_task()
        # was, and an old one takes no name.
        task = asyncio.Task(self._receive(), loop=self._loop, name="pyre-wake")
        task.add_done_callback(self._ended)
        return task

    async def _receive(self) -> None:
        while await self._loop.sock_recv_into(self._socket, self._buffer):
            self._loop.call_soon(self._callback)

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if self._closed or self._loop.is_closed():
            self._socket.close()
        elif task.cancelled():  # by an application that cancels every task it sees
            self._restart()
        elif error is not None:  # without a receiver the server would be deaf
            self._loop.call_exception_handler(
                {"message": "Pyre's wake-up failed; trying again", "exception": error, "task": task}
            )
            self._loop.call_later(_PAUSE_S, self._restart)

    def _restart(self) -> None:
        if self._closed:
            return
        self._task = self._start()
        # For the byte that may have been lost: a task that is cancelled after its receive is done throws that away.
        self._loop.call_soon(self._callback)

    def close(self) -> None:
        """The callback is not called any more."""
        self._closed = True
        self._callback = _nothing
        if self._task.done():  # and none is under way, for a failure's pause is not over
            self._socket.close()
        elif not self._loop.is_closed():
            self._task.cancel()
        else:
            # The loop was closed before the engine, after it had cancelled every task and we had started another. That
            # one can neither go on nor be cancelled, and nobody needs to hear of it.
            self._task._log_destroy_pending = False  # type: ignore[attr-defined]
            self._socket.close()


def _nothing() -> None:
    pass
