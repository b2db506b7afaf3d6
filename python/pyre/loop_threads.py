"""`ThreadServer`: one application on several event loops of one process, each on a thread of its own, which run Python
at the same time. For free-threaded Python (`--worker-mode thread`).

Each loop has an engine of its own, embedded in it. The main thread runs no code of the application's: it takes the
signals, accepts for all loops (each connection goes to the one that has the fewest, for good), and starts and ends them
in step.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from pyre._core import LoopGroup, usable_cpus
from pyre.config import Config
from pyre.errors import EXIT_STARTUP_FAILURE, EXIT_USAGE, BindError, ConfigError
from pyre.lifespan import Lifespan
from pyre.loops import LoopFactory
from pyre.server import ABORT_GRACE, Server

logger = logging.getLogger("pyre.error")

MAX_LOOPS = 64
"""More than this are several processes (http::Placement::kMaxLoops)."""

# Seconds between two looks at loops that are to do something: only while starting and ending.
_POLL = 0.05
# What a loop may take beyond the time that it was given, before it counts as lost: its thread is inside a call of the
# application's that does not return.
_SLACK = 2.0


class LoopGoneError(Exception):
    """A loop's thread has ended while something was asked of it."""


class _Loop(Server):
    """One of the loops. What has a docstring that begins with "On the loop" runs there, called by `call()`."""

    def __init__(self, owner: ThreadServer, index: int, factory: LoopFactory | None) -> None:
        super().__init__(owner.config)
        self.failure: BaseException | None = None
        self._gone = threading.Event()
        self._owner = owner
        self._index = index
        self._factory = factory
        self._runs = threading.Event()
        self._end: asyncio.Event | None = None

    # ---- by the owner

    @property
    def gone(self) -> bool:
        """Its thread has ended, or is at its very end."""
        return self._gone.is_set()

    def start(self, context: contextvars.Context) -> None:
        """Starts the thread; its loop copies `context`."""
        # A daemon: a request that hangs in the application cannot keep the process alive after the graceful shutdown.
        threading.Thread(target=context.run, args=(self._run,), name=f"pyre.loop-{self._index}", daemon=True).start()

    async def call(self, function: Callable[[], Awaitable[Any]]) -> Any:
        """Awaits `function()` on the loop. Raises `LoopGoneError` if that ends first."""
        while not self._runs.is_set() and not self.gone:  # noqa: ASYNC110
            await asyncio.sleep(_POLL / 10)

        async def run() -> Any:
            return await function()

        if self._loop is None or self._gone.is_set():
            raise LoopGoneError
        future = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(run(), self._loop))
        while True:
            done, _ = await asyncio.wait((future,), timeout=_POLL)
            if done:
                return future.result()
            if self.gone:
                future.cancel()
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
        try:
            with asyncio.Runner(loop_factory=self._factory) as runner:
                runner.run(self._live())
        except BaseException as error:
            self.failure = error
        finally:
            self._gone.set()
            self._owner.loop_ended(self)

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

    async def make_engine(self, group: LoopGroup, state: dict[str, Any]) -> None:
        """On the loop."""
        self._engine = self._make_engine(
            {
                "state": state,
                "group": group,
                "group_index": self._index,
                "limit_max_requests": self._owner.limit_max_requests or 0,
            }
        )

    async def drain(self) -> None:
        """On the loop."""
        if self._engine is not None:
            await self._drain(self._engine)

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


class ThreadServer(Server):
    """Serves `config.app` on `config.worker_threads` event loops. A `Server` in all that may be set or asked from
    outside, but `run()` is the way to start it; `startup()` and the others belong to it.

    The start-up of each loop has to succeed: if one fails, the others are shut down again, and `SystemExit(3)` raised.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._loops: list[_Loop] = []
        self._lost: set[_Loop] = set()
        self._group: LoopGroup | None = None
        self._factory: LoopFactory | None = None

    def stats(self) -> dict[str, Any]:
        """The counters of all loops: their sums, and under `loops` those of each. Any thread."""
        loops = [each for loop in self._loops if (each := loop.stats())]
        out: dict[str, Any] = {}
        for each in loops:
            for name, value in each.items():
                if name == "largest_batch":
                    out[name] = max(out.get(name, 0), value)
                elif name.startswith("access_log_") or name == "offload":  # they share one
                    out[name] = value
                elif name != "loops":
                    out[name] = out.get(name, 0) + value
        if loops and self._engine is not None:
            out["accepts_paused"] += self._engine.stats()["accepts_paused"]
        for each in loops:
            del each["loops"]
        out["loops"] = loops
        return out

    # ---- running

    def run(self, sockets: Sequence[socket.socket] | None = None) -> None:
        try:
            self._factory = self.config.get_loop_factory()
        except ConfigError as error:
            logger.error("%s", error)
            raise SystemExit(EXIT_USAGE) from None
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:  # for signals; nothing is served here
            runner.run(self.serve(sockets))

    async def startup(self, sockets: Sequence[socket.socket] | None = None) -> None:
        is_gil_enabled: Callable[[], bool] = getattr(sys, "_is_gil_enabled", lambda: True)
        if is_gil_enabled():
            logger.warning("The GIL is on (a module that was imported needs it, or PYTHON_GIL): the loops take turns.")
        self._bind(sockets)
        count = self.config.worker_threads or min(usable_cpus(), MAX_LOOPS)
        self._loops = [_Loop(self, index, self._factory) for index in range(count)]
        try:
            assert self._context is not None
            for loop in self._loops:
                loop.start(self._context.copy())
            await self._start_loops()
        except BaseException as error:
            await self._end_loops(shut_down=True)
            if isinstance(error, OSError | ConfigError | ValueError):
                logger.error("%s", error.strerror if isinstance(error, BindError) else error)
                raise SystemExit(EXIT_STARTUP_FAILURE) from error
            raise
        if sockets is None:
            self._log_addresses()
        self.started = True
        logger.info("Serving on %d event loops.", count)
        if self.config.callback_notify is not None:
            self._notifier = asyncio.get_running_loop().create_task(self._notify(self.config.callback_notify))

    async def _start_loops(self) -> None:
        config = self.config
        one_lifespan = config.lifespan_scope == "process"
        started = await self._on_all(_Loop.begin, self._loops[:1] if one_lifespan else self._loops)
        if not all(result is True for result in started.values()):
            for result in started.values():
                if isinstance(result, BaseException) and not isinstance(result, LoopGoneError):
                    raise result
            raise SystemExit(EXIT_STARTUP_FAILURE)
        self.lifespan = self._loops[0].lifespan
        assert self.lifespan is not None
        self._access_log = self._open_access_log()
        group = self._group = LoopGroup(
            len(self._loops), config.limit_connections, self._access_log.fd, self._access_log.line_format
        )

        def state_of(loop: _Loop) -> dict[str, Any]:
            lifespan = self.lifespan if one_lifespan else loop.lifespan
            assert lifespan is not None
            return lifespan.state

        made = await self._on_all(lambda loop: loop.make_engine(group, state_of(loop)), self._loops)
        for result in made.values():
            if isinstance(result, BaseException):
                raise result
        # All have joined: now sockets may be handed to them. Requests are none of this engine's business.
        self._engine = self._make_engine({"group": group, "group_index": len(self._loops)})
        self._listen(self._engine)

    async def shutdown(self, sockets: Sequence[socket.socket] | None = None) -> None:
        logger.info("Shutting down")
        if self._notifier is not None:
            self._notifier.cancel()
        await self._end_loops(shut_down=True)
        for loop in self._loops:
            # As it would have ended a process with one loop: sys.exit() in a handler, say.
            if isinstance(loop.failure, SystemExit | KeyboardInterrupt):
                raise loop.failure

    async def _end_loops(self, *, shut_down: bool) -> None:
        graceful = self.config.timeout_graceful_shutdown
        patience = None if graceful is None else graceful + ABORT_GRACE + _SLACK
        if self._engine is not None:
            self._engine.stop_listening()
            self._close_listeners()
            while self._engine.listening:  # a tick or two: clients may have come before  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        await self._on_all(_Loop.drain, self._loops, patience)
        if shut_down:
            await self._on_all(_Loop.stop, self._loops, None)
        for loop in self._loops:
            loop.end()
        await self._until(lambda: all(loop.gone for loop in self._loops if loop not in self._lost), None)
        if self._engine is not None:
            self._engine.close()
            self._engine = None
        self._end_group()

    def _end_group(self) -> None:
        if self._lost:  # they may still log, and are still in the group; the process is about to end
            return
        if self._group is not None:
            self._group.close()
            self._group = None
        if self._access_log is not None:
            self._access_log.close()
            self._access_log = None

    def _close(self) -> None:
        self._close_listeners()  # the rest is closed by _end_loops()

    # ---- all loops

    async def _on_all(
        self, function: Callable[[_Loop], Awaitable[Any]], loops: Sequence[_Loop], patience: float | None = None
    ) -> dict[_Loop, Any]:
        """Awaits `function(loop)` on each of the loops, at the same time. Results or exceptions; `LoopGoneError` for
        one that does not answer within `patience` seconds: it is given up."""

        def bound(loop: _Loop) -> Callable[[], Awaitable[Any]]:
            return lambda: function(loop)

        calls = {loop: asyncio.ensure_future(loop.call(bound(loop))) for loop in loops if loop not in self._lost}
        await self._until(lambda: all(call.done() for call in calls.values()), patience)
        out: dict[_Loop, Any] = {}
        for loop, call in calls.items():
            if not call.done():
                call.cancel()
                self._lost.add(loop)
                logger.error("A thread of the application's does not come back; it is left behind.")
                out[loop] = LoopGoneError()
            else:
                out[loop] = call.exception() or call.result()
        return out

    async def _until(self, condition: Callable[[], bool], patience: float | None) -> None:
        """Waits for `condition`; once force_exit is set not much longer than tasks have to end after their
        cancellation."""
        clock = asyncio.get_running_loop().time
        until = None if patience is None else clock() + patience
        hurried = False
        while not condition():
            if self._force_exit and not hurried:
                hurried = True
                soon = clock() + ABORT_GRACE + _SLACK
                # The application's start-up and shut-down have no time-out of their own: one more signal ends them.
                if until is not None or self._stops > 2:
                    until = soon if until is None else min(until, soon)
            if self._stops > 2 and until is None:
                until = clock() + ABORT_GRACE + _SLACK
            if until is not None and clock() > until:
                return
            await asyncio.sleep(_POLL)

    def loop_ended(self, loop: _Loop) -> None:
        """On the loop's thread, at its end."""
        if loop.failure is not None and not isinstance(loop.failure, SystemExit):
            logger.error("An event loop ended", exc_info=loop.failure)
        self.should_exit = True

    # ---- what is told to them

    @property
    def force_exit(self) -> bool:
        return self._force_exit

    @force_exit.setter
    def force_exit(self, value: bool) -> None:
        self._force_exit = value
        self._wake()
        self._hurry()

    def _stop(self) -> None:
        super()._stop()
        self._hurry()

    def _hurry(self) -> None:
        for loop in self._loops:
            loop.hurry(self._stops, self._force_exit)
