"""`ThreadServer`: one application on several event loops of one process, each on a thread of its own, which run Python
at the same time. For free-threaded Python (`--worker-mode thread`).

Each loop has an engine of its own, embedded in it. The main thread runs no code of the application's: it takes the
signals, accepts for all loops (each connection goes to the one that has the fewest, for good), and starts and ends them
in step.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from pyre._core import LoopGroup, usable_cpus
from pyre.config import Config
from pyre.errors import EXIT_STARTUP_FAILURE, EXIT_USAGE, BindError, ConfigError
from pyre.loop_thread import LoopGoneError, LoopThread
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

# For the access log to be written out that cannot be closed: lines wait 50 ms for company there.
_LOG_WAIT = 0.2

_Calls = dict[LoopThread, asyncio.Future[Any]]


class ThreadServer(Server):
    """Serves `config.app` on `config.worker_threads` event loops. A `Server` in all that may be set or asked from
    outside, but `run()` is the way to start it; `startup()` and the others belong to it.

    The start-up of each loop has to succeed: if one fails, the others are shut down again, and `SystemExit(3)` raised.
    """

    def __init__(self, config: Config) -> None:
        if config.worker_mode != "thread":
            raise ConfigError("ThreadServer needs a Config with worker_mode='thread'.")
        super().__init__(config)
        self._loops: list[LoopThread] = []
        self._lost: set[LoopThread] = set()
        self._failure: BaseException | None = None
        self._group: LoopGroup | None = None
        self._factory: LoopFactory | None = None

    @property
    def left_behind(self) -> tuple[str, ...]:
        return tuple(loop.name for loop in self._lost if not loop.gone)

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
        engine = self._engine  # it may end meanwhile, and then has no counters
        if loops and engine is not None:
            out["accepts_paused"] += engine.stats().get("accepts_paused", 0)
        for each in loops:
            each.pop("loops", None)
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
        warned = _warn_of_gil()
        self._bind(sockets)
        count = self.config.worker_threads or min(usable_cpus(), MAX_LOOPS)
        self._loops = [LoopThread(self, index, self._factory) for index in range(count)]
        self._hurry()  # what came before they were there
        try:
            self._start_threads()
            await self._start_loops()
            if not warned:
                _warn_of_gil()  # the lifespans may have imported something
        except BaseException as error:
            await self._end_loops()
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

    def _start_threads(self) -> None:
        assert self._context is not None
        for index, loop in enumerate(self._loops):
            try:
                loop.start(self._context.copy())
            except RuntimeError as error:
                logger.error("Cannot start the thread of event loop %d of %d: %s", index + 1, len(self._loops), error)
                del self._loops[index:]
                raise SystemExit(EXIT_STARTUP_FAILURE) from error

    async def _start_loops(self) -> None:
        config = self.config
        one_lifespan = config.lifespan_scope == "process"
        await self._start_lifespans(self._loops[:1] if one_lifespan else self._loops)
        self.lifespan = self._loops[0].lifespan
        assert self.lifespan is not None
        self._access_log = self._open_access_log()
        group = self._group = LoopGroup(
            len(self._loops), config.limit_connections, self._access_log.fd, self._access_log.line_format
        )

        def state_of(loop: LoopThread) -> dict[str, Any]:
            lifespan = self.lifespan if one_lifespan else loop.lifespan
            assert lifespan is not None
            return lifespan.state

        limit = self.limit_max_requests  # drawn here, once: the loops would do so at the same time
        made = self._ask(lambda loop: loop.make_engine(group, state_of(loop), limit))
        # No code of the application's, but a callback of it may block the thread: as with all else, a second signal.
        for result in (await self._answers(made, None)).values():
            if isinstance(result, LoopGoneError):
                raise SystemExit(EXIT_STARTUP_FAILURE) from result
            if isinstance(result, BaseException):
                raise result
        # All have joined: now sockets may be handed to them. Requests are none of this engine's business.
        self._engine = self._make_engine({"group": group, "group_index": len(self._loops)})
        self._listen(self._engine)

    async def _start_lifespans(self, loops: Sequence[LoopThread]) -> None:
        calls = self._ask(LoopThread.begin, loops)

        def all_done() -> bool:
            return all(call.done() for call in calls.values())

        def one_failed() -> bool:
            return any(call.done() and _failed(call) for call in calls.values())

        await self._until(lambda: all_done() or one_failed(), None)
        deadline = None
        if one_failed() and not self._force_exit:
            # The others may be about to finish, and are then shut down in order; if not, nobody needs them any more.
            await self._until(all_done, time.monotonic() + ABORT_GRACE)
            for loop, call in calls.items():
                if not call.done():
                    loop.hurry(self._stops, True)
            deadline = time.monotonic() + ABORT_GRACE + _SLACK
        started = await self._answers(calls, deadline)
        if all(result is True for result in started.values()):
            return
        for result in started.values():
            if isinstance(result, BaseException) and not isinstance(result, LoopGoneError):
                raise result
        raise SystemExit(EXIT_STARTUP_FAILURE)

    async def shutdown(self, sockets: Sequence[socket.socket] | None = None) -> None:
        logger.info("Shutting down")
        if self._notifier is not None:
            self._notifier.cancel()
        await self._end_loops()
        if self._failure is not None:  # as it would have ended a process with one loop: sys.exit() in a task, say
            raise self._failure

    async def _end_loops(self) -> None:
        graceful = self.config.timeout_graceful_shutdown
        if self._engine is not None:
            self._engine.stop_listening()
            self._close_listeners()
            while self._engine.listening:  # a tick or two: clients may have come before  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        deadline = None if graceful is None else time.monotonic() + graceful
        calls = self._ask(lambda loop: loop.drain(deadline))
        self._log_failures(await self._answers(calls, None if deadline is None else deadline + ABORT_GRACE + _SLACK))
        stopped: set[LoopThread] = set()
        while rest := [loop for loop in self._loops if loop not in stopped and loop not in self._lost]:
            stopped.update(rest)  # not twice; but once more for those that come back meanwhile
            # It has no time-out: what is written there must not be lost. A third signal ends the wait.
            calls = self._ask(LoopThread.stop, rest)
            self._log_failures(await self._answers(calls, None, lambda: self._stops > 2))
        for loop in self._loops:
            loop.end()
        await self._until(
            lambda: all(loop.gone for loop in self._loops if loop not in self._lost),
            time.monotonic() + ABORT_GRACE + _SLACK,
        )
        for loop in self._loops:
            if not loop.gone:  # a callback, or a call in its own thread pool
                self._lose(loop)
        if self._engine is not None:
            self._engine.close()
            self._engine = None
        if self.left_behind:  # they may still log, and are still in the group; the process is about to end
            await asyncio.sleep(_LOG_WAIT)
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

    def _ask(
        self, function: Callable[[LoopThread], Awaitable[Any]], loops: Sequence[LoopThread] | None = None
    ) -> _Calls:
        """Begins `function(loop)` on each of the loops that are not lost, at the same time."""

        def bound(loop: LoopThread) -> Callable[[], Awaitable[Any]]:
            return lambda: function(loop)

        asked = self._loops if loops is None else loops
        return {loop: asyncio.ensure_future(loop.call(bound(loop))) for loop in asked if loop not in self._lost}

    async def _answers(
        self, calls: _Calls, deadline: float | None, is_hurried: Callable[[], bool] | None = None
    ) -> dict[LoopThread, Any]:
        """Results or exceptions; `LoopGoneError` for one that does not answer in time: it is given up. See _until()."""
        await self._until(lambda: all(call.done() for call in calls.values()), deadline, is_hurried)
        out: dict[LoopThread, Any] = {}
        for loop, call in calls.items():
            if not call.done():
                self._lose(loop, call)
                out[loop] = LoopGoneError()
            elif call.cancelled():
                out[loop] = LoopGoneError()
            else:
                out[loop] = call.exception() or call.result()
        return out

    async def _until(
        self, condition: Callable[[], bool], deadline: float | None, is_hurried: Callable[[], bool] | None = None
    ) -> None:
        """Waits for `condition`, until `deadline` (of `time.monotonic()`) at most; once `is_hurried` (by default: once
        force_exit is set) not much longer than tasks have to end after their cancellation."""
        is_hurried = is_hurried or (lambda: self._force_exit)
        hurried = False
        while not condition():
            if not hurried and is_hurried():
                hurried = True
                soon = time.monotonic() + ABORT_GRACE + _SLACK
                deadline = soon if deadline is None else min(deadline, soon)
            if deadline is not None and time.monotonic() > deadline:
                return
            await asyncio.sleep(_POLL)

    def _lose(self, loop: LoopThread, call: asyncio.Future[Any] | None = None) -> None:
        if loop in self._lost:
            return
        self._lost.add(loop)
        logger.error("The application does not give the thread %s back; it is left behind.", loop.name)

        def answered(call: asyncio.Future[Any]) -> None:
            if not call.cancelled() and call.exception() is None and not loop.gone:
                self._lost.discard(loop)  # it was slow, and can do the rest
                logger.info("The thread %s is back.", loop.name)

        if call is not None:
            call.add_done_callback(answered)

    def _log_failures(self, answers: dict[LoopThread, Any]) -> None:
        for loop, answer in answers.items():
            if isinstance(answer, BaseException) and not isinstance(answer, LoopGoneError):
                logger.error("The thread %s could not be ended", loop.name, exc_info=answer)
                self._failure = self._failure or answer

    def loop_ended(self, loop: LoopThread, failure: BaseException | None) -> None:
        """On the loop's thread, at its end."""
        if failure is not None:
            if not isinstance(failure, SystemExit):
                logger.error("The event loop of %s ended", loop.name, exc_info=failure)
            self._failure = self._failure or failure  # of two at the same time either will do
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


def _warn_of_gil() -> bool:
    is_gil_enabled: Callable[[], bool] = getattr(sys, "_is_gil_enabled", lambda: True)
    if is_gil_enabled():
        logger.warning("The GIL is on (a module that was imported needs it, or PYTHON_GIL): the loops take turns.")
    return is_gil_enabled()


def _failed(call: asyncio.Future[Any]) -> bool:
    return call.cancelled() or call.exception() is not None or call.result() is not True
