"""A pool of threads for applications that block."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable


def default_threads() -> int:
    """min(32, usable cores + 4): as `concurrent.futures`, for work that mostly waits."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:
        cores = os.cpu_count() or 1
    return min(32, cores + 4)


class ThreadPool:
    """Runs callables on at most `size` threads, which are started when they are needed.

    The threads are daemons: one that hangs in the application cannot keep the process alive after the graceful
    shutdown is over (`concurrent.futures` would wait for it at exit). Work waits without a limit of its own: each
    piece belongs to a request, and those are limited.
    """

    def __init__(self, size: int, name: str) -> None:
        self._size = size
        self._name = name
        self._threads = 0
        self._idle = 0
        self._work: deque[Callable[[], None]] = deque()
        self._condition = threading.Condition(threading.Lock())
        self._closed = False

    def submit(self, work: Callable[[], None]) -> None:
        """Has `work` run on one of the threads. It must not raise."""
        with self._condition:
            self._work.append(work)
            if self._idle >= len(self._work):
                self._condition.notify()
            elif self._threads < self._size:
                self._threads += 1
                threading.Thread(target=self._run, name=f"{self._name}-{self._threads}", daemon=True).start()

    def close(self) -> None:
        """Ends the threads that have nothing to do; the others end after their work."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def _run(self) -> None:
        while True:
            with self._condition:
                while not self._work:
                    if self._closed:
                        return
                    self._idle += 1
                    self._condition.wait()
                    self._idle -= 1
                work = self._work.popleft()
            work()
            del work  # or the last request would live as long as the thread idles
