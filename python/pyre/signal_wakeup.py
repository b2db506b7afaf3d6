"""How a signal wakes an event loop.

Python runs a signal's handler between two bytecodes of the main thread. A signal that comes after the last one before
the loop waits in the kernel interrupts no system call: it would be noticed when something else wakes the loop, which on
an idle server is never. So the signal has to write into a descriptor that the loop watches (`signal.set_wakeup_fd`).
uvloop and the Proactor loop do that by themselves, asyncio's selector loop only for `loop.add_signal_handler`.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Iterator


@contextlib.contextmanager
def woken_by_signals(loop: asyncio.AbstractEventLoop) -> Iterator[bool]:
    """While inside, any signal that has a Python handler wakes `loop`, which runs on the main thread, as we do. False:
    that cannot be had, because the loop watches no descriptors."""
    own = _wakeup_fd()
    if own != -1:
        yield True
        return
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        far.setblocking(False)
        try:
            loop.add_reader(near.fileno(), _drain, near)
        except NotImplementedError:
            yield False
            return
        signal.set_wakeup_fd(far.fileno(), warn_on_full_buffer=False)
        try:
            yield True
        finally:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.remove_reader(near.fileno())
            if _wakeup_fd() == far.fileno():  # else somebody has set another one meanwhile, asyncio for example
                signal.set_wakeup_fd(-1)


def _wakeup_fd() -> int:
    # There is no way to ask but to set it.
    current = signal.set_wakeup_fd(-1)
    if current != -1:
        try:
            signal.set_wakeup_fd(current, warn_on_full_buffer=False)
        except (OSError, ValueError):  # somebody has closed it, and wakes nobody by it
            return -1
    return current


def _drain(sock: socket.socket) -> None:
    with contextlib.suppress(BlockingIOError):
        while len(sock.recv(4096)) == 4096:
            pass
