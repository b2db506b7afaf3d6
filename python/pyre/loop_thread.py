"""`LoopThread`: one of the event loops that a `ThreadServer` serves on, with its engine and its lifespan."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from pyre.lifespan import Lifespan
from pyre.loops import LoopFactory
from pyre.server import Server

if TYPE_CHECKING:
    from pyre._core import LoopGroup
    from pyre.loop_threads import ThreadServer

logger = logging.getLogger("pyre.error")

# Seconds between two looks at a loop that is asked something. Only while starting and ending: a look costs little, and
# nobody notices this much.
_POLL = 0.05


class LoopGoneError(Exception):
    """A loop's thread has ended, or ends, while something is asked of it."""


class LoopThread(Server):
    """What has a docstring that begins with "On the loop" runs there, called by `call()`."""

    def __init__(self, owner: ThreadServer, index: int, factory: LoopFactory | None) -> None:
        super().__init__(owner.config)
        self.name = f"pyre.loop-{index}"
        self._owner = owner
        self._index = index
        self._factory = factory
        self._runs = threading.Event()
        self._ends = False
        self._gone = threading.Event()
        self._end: asyncio.Event | None = None

    # ---- by the owner

    @property
    def gone(self) -> bool:
        """Its thread has ended, or is at its very end."""
        return self._gone.is_set()

    def start(self, context: contextvars.Context) -> None:
        """Starts the thread; its loop copies `context`. Raises `RuntimeError` if there can be no more threads."""
        # A daemon: a request that hangs in the application cannot keep the process alive after the graceful shutdown.
        threading.Thread(target=context.run, args=(self._run,), name=self.name, daemon=True).start()

    async def call(self, function: Callable[[], Awaitable[Any]]) -> Any:
        """Awaits `function()` on the loop. Raises `LoopGoneError` if that ends first."""
        while not self._runs.is_set() and not self.gone:  # noqa: ASYNC110
            await asyncio.sleep(_POLL / 10)
        answer: concurrent.futures.Future[Any] = concurrent.futures.Future()

        # Not run_coroutine_threadsafe: its coroutine would be left over, unawaited, by a loop that closes first.
        def ask() -> None:
            if self._ends:
                answer.set_exception(LoopGoneError())
            else:
                _copy_result(asyncio.ensure_future(_awaited(function)), answer)

        try:
            if self._loop is None:
                raise LoopGoneError  # not even made
            self._loop.call_soon_threadsafe(ask)
        except RuntimeError:  # closed
            raise LoopGoneError from None
        future = asyncio.wrap_future(answer)
        while True:
            gone = self.gone  # asked before the look: it may have answered just before its end
            done, _ = await asyncio.wait((future,), timeout=_POLL)
            if done and not future.cancelled():
                return future.result()
            if done or gone:  # at its end a loop cancels all that it runs
                raise LoopGoneError

    def end(self) -> None:
        """Has the loop end, and with it its thread."""
        loop, event = self._loop, self._end
        if loop is not None and event is not None and not self.gone:
            try:
                loop.call_soon_threadsafe(event.set)
            except RuntimeError:  # closed in between
                pass

    # ---- the thread

    def _run(self) -> None:
        failure: BaseException | None = None
        try:
            with asyncio.Runner(loop_factory=self._factory) as runner:
                try:
                    runner.run(self._live())
                finally:
                    self._ends = True  # what is asked now would be begun, and then not be ended, by Runner.close()
        except BaseException as error:
            failure = error
        finally:
            self._gone.set()
            self._owner.loop_ended(self, failure)

    async def _live(self) -> None:
        self._begin()
        self._end = asyncio.Event()
        self._runs.set()
        try:
            await self._end.wait()
        finally:
            if self._heartbeat is not None:
                self._heartbeat.cancel()
            self._close()

    async def begin(self) -> bool:
        """On the loop: runs the application's start-up."""
        config = self.config
        self.lifespan = Lifespan(config.loaded_app, config.lifespan, config.asgi_version)  # type: ignore[arg-type]
        return await self._start_lifespan(self.lifespan)

    async def make_engine(self, group: LoopGroup, state: dict[str, Any], limit_max_requests: int | None) -> None:
        """On the loop. The limit is the owner's: each loop would draw a jitter of its own."""
        self._limit_max_requests = limit_max_requests
        self._engine = self._make_engine({"state": state, "group": group, "group_index": self._index})

    async def drain(self, deadline: float | None) -> None:
        """On the loop, which may come to it late: the deadline is one of `time.monotonic()`."""
        if self._engine is not None:
            await self._drain(self._engine, None if deadline is None else max(0.0, deadline - time.monotonic()))

    async def stop(self) -> None:
        """On the loop: runs the application's shut-down."""
        if self.lifespan is not None:
            await self._stop_lifespan(self.lifespan)

    def hurry(self, stops: int, force: bool) -> None:
        """What the owner was told: any thread."""
        self._stops = stops
        self._force_exit = force
        self._wake()

    def stats(self) -> dict[str, Any]:
        """The engine's counters: any thread."""
        engine = self._engine
        return {} if engine is None else engine.stats()

    def _on_max_requests(self) -> None:
        self._owner._on_max_requests()


async def _awaited(function: Callable[[], Awaitable[Any]]) -> Any:
    return await function()


def _copy_result(task: asyncio.Future[Any], answer: concurrent.futures.Future[Any]) -> None:
    def copy(task: asyncio.Future[Any]) -> None:
        error = None if task.cancelled() else task.exception()
        if task.cancelled() or isinstance(error, SystemExit | KeyboardInterrupt):  # the latter end the loop
            answer.cancel()
        elif error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(task.result())

    task.add_done_callback(copy)
