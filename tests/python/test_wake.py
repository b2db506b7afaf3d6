"""The receiver of wake-ups for event loops that cannot watch handles. Whatever happens to its task, the callback goes
on being called: a server that misses a wake-up is deaf."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pyre.wake
import pytest
from pyre.wake import Receiver


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while True:
            if condition():
                return
            await asyncio.sleep(0.001)


class Waker:
    """The far end of a receiver's socket."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        near, self.far = socket.socketpair()
        near.setblocking(False)
        self.called = asyncio.Event()
        self.calls = 0
        self.reports: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: self.reports.append(context))
        self.handle = near.detach()
        self.receiver = Receiver(loop, self.handle, self._on_wake)

    def _on_wake(self) -> None:
        self.calls += 1
        self.called.set()

    async def wake(self) -> None:
        self.called.clear()
        self.far.send(b"x")
        await asyncio.wait_for(self.called.wait(), 30)

    def receiver_is_closed(self) -> bool:
        self.far.setblocking(False)
        try:
            return self.far.recv(1) == b""
        except BlockingIOError:
            return False
        except ConnectionResetError:  # there was a byte that nobody took
            return True

    async def close(self) -> None:
        self.receiver.close()
        await until(self.receiver_is_closed)
        self.far.close()


def failing_receive(monkeypatch: pytest.MonkeyPatch, error: BaseException, times: int) -> None:
    """The first `times` receives fail, the first one after it took the byte."""
    left = [times]
    loop_class: Any = getattr(asyncio, "ProactorEventLoop", asyncio.SelectorEventLoop)  # what asyncio.run() makes
    real = loop_class.sock_recv_into

    async def receive(self: Any, sock: socket.socket, buffer: bytearray) -> int:
        if left[0] == times:
            await real(self, sock, buffer)
        if left[0] > 0:
            left[0] -= 1
            raise error
        return await real(self, sock, buffer)

    monkeypatch.setattr(loop_class, "sock_recv_into", receive)
    monkeypatch.setattr(pyre.wake, "_PAUSE_S", 0.001)


def test_each_wake_up_calls_back() -> None:
    async def run() -> None:
        waker = Waker(asyncio.get_running_loop())
        for _ in range(3):
            await waker.wake()
        assert waker.reports == []
        await waker.close()

    asyncio.run(run())


def test_an_application_that_cancels_every_task_does_not_make_it_deaf() -> None:
    async def run() -> None:
        waker = Waker(asyncio.get_running_loop())
        for _ in range(3):
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            await asyncio.sleep(0)
            await waker.wake()
        await waker.close()

    asyncio.run(run())


@pytest.mark.parametrize("turns", range(6))
def test_a_byte_that_was_received_when_the_task_is_cancelled_is_not_lost(turns: int) -> None:
    async def run() -> None:
        waker = Waker(asyncio.get_running_loop())
        await asyncio.sleep(0)
        waker.called.clear()
        waker.far.send(b"x")
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.wait_for(waker.called.wait(), 30)
        await waker.close()

    asyncio.run(run())


def test_a_failure_is_reported_and_outlived(monkeypatch: pytest.MonkeyPatch) -> None:
    error = RuntimeError("out of luck")
    failing_receive(monkeypatch, error, 3)

    async def run() -> None:
        waker = Waker(asyncio.get_running_loop())
        await waker.wake()  # by the byte that the failure has swallowed
        await until(lambda: len(waker.reports) == 3)
        await waker.wake()
        assert [report["exception"] for report in waker.reports] == [error] * 3
        await waker.close()

    asyncio.run(run())


def test_closing_while_it_waits_to_try_again_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    failing_receive(monkeypatch, RuntimeError("out of luck"), 1)
    monkeypatch.setattr(pyre.wake, "_PAUSE_S", 0.02)

    async def run() -> None:
        waker = Waker(asyncio.get_running_loop())
        waker.far.send(b"x")
        await until(lambda: bool(waker.reports))
        await waker.close()
        calls = waker.calls
        await asyncio.sleep(0.05)
        assert waker.calls == calls
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(run())


def test_the_callback_is_not_called_after_the_close() -> None:
    async def run() -> None:
        waker = Waker(asyncio.get_running_loop())
        await waker.wake()
        waker.far.send(b"x")
        calls = waker.calls
        await waker.close()
        for _ in range(5):
            await asyncio.sleep(0)
        assert waker.calls == calls

    asyncio.run(run())
