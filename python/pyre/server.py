"""`Server`: one application on one event loop, from its start-up to its end."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import os
import signal
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple

from pyre import access_log
from pyre import logging as pyre_logging
from pyre.config import Config
from pyre.errors import EXIT_APP_LOAD_FAILURE, EXIT_STARTUP_FAILURE, EXIT_USAGE, AppLoadError, BindError, ConfigError
from pyre.lifespan import Lifespan
from pyre.signal_wakeup import woken_by_signals
from pyre.sockets import Listener, adopt_socket

if TYPE_CHECKING:
    from pyre._core import Engine

logger = logging.getLogger("pyre.error")

HANDLED_SIGNALS: list[int] = [signal.SIGINT, signal.SIGTERM]
if hasattr(signal, "SIGBREAK"):
    HANDLED_SIGNALS.append(signal.SIGBREAK)

ABORT_GRACE = 5.0
"""Seconds for the application's tasks to end after they were cancelled. One that swallows its cancellation is left
behind."""

# Seconds between two wake-ups of a loop that signals do not wake; and of one that they do, as long as nobody takes the
# wake-up descriptor away, which asyncio does when an application removes its last signal handler.
_HEARTBEAT_DEAF = 0.25
_HEARTBEAT = 5.0

_TASK_POLL = 0.05  # seconds between two looks at tasks that outlive their connection, while shutting down only


class Listening(NamedTuple):
    """What `Server.servers` holds: as much of an `asyncio.Server` as programs look at to learn the port."""

    sockets: tuple[socket.socket, ...]


class Server:
    """Serves `config.app`.

    `run()` starts an event loop of its own, `serve()` runs on the caller's. Both return after the server was told to
    end: by SIGINT, SIGTERM or Ctrl-Break, if they run on the main thread, by the Config's `stop_event`, or by
    `should_exit = True` from any thread. They raise `SystemExit` with code 3 if the start-up fails and 4 if the
    application cannot be loaded; the reason is in the log.

    The end is graceful: no new connections, idle ones are closed, running requests have `timeout_graceful_shutdown`
    seconds. `force_exit = True`, or a second signal, ends that time at once. The application's lifespan shut-down
    runs in any case; a third signal gives up on that too. The stop event counts as a signal does.

    `startup()`, `main_loop()` and `shutdown()` are the three parts of `serve()`; a subclass may override them with
    uvicorn's signatures, and a program may call them itself, on one running loop.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.started = False
        """Connections are accepted."""
        self.listeners: list[Listener] = []
        self.lifespan: Lifespan | None = None
        self.reraise_signals = True
        """Whether the signals that ended the server are raised again afterwards, for the handlers that were there
        before. `pyre.run()`, which owns the process, turns it off."""
        self._engine: Engine | None = None
        self._access_log: access_log.AccessLogTarget | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed: asyncio.Event | None = None
        self._should_exit = False
        self._force_exit = False
        self._signals: list[int] = []
        self._is_deaf = False  # the loop is not woken by a signal
        self._heartbeat: asyncio.TimerHandle | None = None
        self._stops = 0  # signals, and sets of the stop event
        self._context: contextvars.Context | None = None
        self._limit_max_requests: int | None = None
        self._notifier: asyncio.Task[None] | None = None

    # ---- what may be set from outside, also from another thread

    @property
    def should_exit(self) -> bool:
        """Set it to end the server."""
        return self._should_exit

    @should_exit.setter
    def should_exit(self, value: bool) -> None:
        self._should_exit = value
        self._wake()

    @property
    def force_exit(self) -> bool:
        """Set it to cut what still runs while the server ends."""
        return self._force_exit

    @force_exit.setter
    def force_exit(self, value: bool) -> None:
        self._force_exit = value
        self._wake()

    # ---- what may be asked

    @property
    def servers(self) -> list[Listening]:
        """The listening sockets, as uvicorn has them: `server.servers[0].sockets[0].getsockname()`. Empty while the
        server does not listen."""
        return [Listening(tuple(listener.sock for listener in self.listeners))] if self.listeners else []

    @property
    def left_behind(self) -> tuple[str, ...]:
        """The threads of ours that the application did not give back: while Python ends they would take the process
        down with them, or keep it. A program that finds any after the server's end leaves by `os._exit()`."""
        return ()

    @property
    def limit_max_requests(self) -> int | None:
        """The Config's limit with its jitter, which is drawn once."""
        limit = self.config.limit_max_requests
        if limit is not None and self._limit_max_requests is None:
            jitter = self.config.limit_max_requests_jitter
            if jitter:
                import random

                jitter = random.randint(0, jitter)
            self._limit_max_requests = limit + jitter
        return self._limit_max_requests

    def _wake(self) -> None:
        # Also from a signal handler: call_soon_threadsafe is the one way in that is safe anywhere.
        loop, changed = self._loop, self._changed
        if loop is not None and changed is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the server ended in between
                loop.call_soon_threadsafe(changed.set)

    # ---- running

    def run(self, sockets: Sequence[socket.socket] | None = None) -> None:
        """Serves on a new event loop until the end."""
        try:
            factory = self.config.get_loop_factory()
        except ConfigError as error:
            logger.error("%s", error)
            raise SystemExit(EXIT_USAGE) from None
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(self.serve(sockets))

    async def serve(self, sockets: Sequence[socket.socket] | None = None) -> None:
        """Serves on the running loop until the end. `sockets`, if given, are served instead of the Config's
        addresses; they are copied, and stay the caller's to close."""
        with self.capture_signals(), capture_stop_event(self.config.stop_event, self._stop):
            await self._serve(sockets)

    async def _serve(self, sockets: Sequence[socket.socket] | None) -> None:
        self._begin()
        try:
            self._load()
            logger.info("Started server process [%d]", os.getpid())
            await self.startup(sockets)
            try:
                await self.main_loop()
            finally:
                await self.shutdown()
            logger.info("Finished server process [%d]", os.getpid())
        finally:
            self._close()
            if self._heartbeat is not None:
                self._heartbeat.cancel()
                self._heartbeat = None
            self._loop = None
            self._changed = None
            self._context = None

    def _begin(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._beat()
        # Taken before the application is there, so that what it sets in its lifespan is not seen by some requests
        # only.
        self._context = contextvars.Context() if self.config.reset_contextvars else contextvars.copy_context()

    def _beat(self) -> None:
        assert self._loop is not None
        self._heartbeat = self._loop.call_later(_HEARTBEAT_DEAF if self._is_deaf else _HEARTBEAT, self._beat)

    def _load(self) -> None:
        try:
            self.config.load()
        except AppLoadError as error:
            log_load_error(error)
            raise SystemExit(EXIT_APP_LOAD_FAILURE) from None

    async def startup(self, sockets: Sequence[socket.socket] | None = None) -> None:
        """Binds, runs the application's start-up and begins to accept. Raises `SystemExit(3)`, after logging why, if
        it cannot."""
        config = self.config
        if config.worker_mode == "thread":  # it would be served by one loop, and nobody would notice
            raise ConfigError("--worker-mode thread needs a pyre.loop_threads.ThreadServer, or pyre.run().")
        if self._loop is not asyncio.get_running_loop():  # not called by serve()
            self._begin()
            self._load()
        self._bind(sockets)
        self.lifespan = Lifespan(config.loaded_app, config.lifespan, config.asgi_version)  # type: ignore[arg-type]
        started = False
        try:
            if not await self._start_lifespan(self.lifespan):
                raise SystemExit(EXIT_STARTUP_FAILURE)
            started = True
            self._start_engine()
        except BaseException as error:
            if started:
                await self.lifespan.shutdown()
            self._close()
            if isinstance(error, OSError | ConfigError | ValueError):
                logger.error("%s", error.strerror if isinstance(error, BindError) else error)
                raise SystemExit(EXIT_STARTUP_FAILURE) from error
            raise
        if sockets is None:
            self._log_addresses()
        self.started = True
        if config.callback_notify is not None:
            self._notifier = asyncio.get_running_loop().create_task(self._notify(config.callback_notify))

    def _bind(self, sockets: Sequence[socket.socket] | None) -> None:
        try:
            if sockets is not None:
                self.listeners = [adopt_socket(sock) for sock in sockets]
            else:
                self.listeners = self.config.bind_sockets()
        except OSError as error:
            logger.error("%s", error.strerror if isinstance(error, BindError) else error)
            raise SystemExit(EXIT_STARTUP_FAILURE) from None

    def _open_access_log(self) -> access_log.AccessLogTarget:
        # Only when the application has started: it may have set `pyre.access` up while it was imported or started.
        config = self.config
        return access_log.open_target(
            enabled=config.access_log,
            default_config=pyre_logging.is_default(config.log_config),
            log_format=config.log_format,
            use_colors=config.use_colors,
        )

    def _make_engine(self, options: dict[str, object]) -> Engine:
        """An engine on the running loop, of the Config's options and these."""
        from pyre._core import Engine

        assert self._context is not None
        options = {
            **self.config.engine_options(),
            "limit_max_requests": self.limit_max_requests or 0,
            "on_max_requests": self._on_max_requests,
            "on_error": self._on_error,
            **options,
        }
        # The engine copies the context that it is made in for each request.
        return self._context.run(Engine, self.config.loaded_app, asyncio.get_running_loop(), options)

    def _start_engine(self) -> None:
        assert self.lifespan is not None
        self._access_log = self._open_access_log()
        self._engine = self._make_engine(
            {
                "state": self.lifespan.state,
                "access_log_fd": self._access_log.fd,
                "access_log_format": self._access_log.line_format,
            }
        )
        self._listen(self._engine)

    def _listen(self, engine: Engine) -> None:
        config = self.config
        for listener in self.listeners:
            listener.listen(config.backlog)
            if listener.siblings:  # one for each thread
                for thread, sock in enumerate((listener.sock, *listener.siblings)):
                    engine.listen(sock.fileno(), False, thread)
            else:
                engine.listen(listener.sock.fileno(), listener.is_unix)

    def _log_addresses(self) -> None:
        for listener in self.listeners:
            logger.info("Pyre running on %s (Press CTRL+C to quit)", listener.name, extra={"address": listener.name})

    async def main_loop(self) -> None:
        """Returns when the server is to end."""
        assert self._changed is not None
        while not (self._should_exit or self._force_exit):
            await self._changed.wait()
            self._changed.clear()

    async def shutdown(self, sockets: Sequence[socket.socket] | None = None) -> None:
        """Ends what `startup()` began: drains, cuts what does not end in time, runs the application's shut-down."""
        logger.info("Shutting down")
        if self._notifier is not None:
            self._notifier.cancel()
        engine = self._engine
        if engine is not None:
            engine.stop_listening()
            self._close_listeners()
            await self._drain(engine, self.config.timeout_graceful_shutdown)
        if self.lifespan is not None:
            await self._stop_lifespan(self.lifespan)
        self._close()

    async def _drain(self, engine: Engine, timeout: float | None) -> None:
        engine.drain()
        if await self._finished(engine, timeout):
            return
        logger.error(
            "Cutting %d connection(s) and cancelling %d request(s): %s.",
            engine.connections,
            engine.active_requests,
            "told to hurry" if self._force_exit else "the graceful shutdown took too long",
        )
        engine.abort()
        await self._finished(engine, ABORT_GRACE, forced=True)

    async def _finished(self, engine: Engine, timeout: float | None, *, forced: bool = False) -> bool:
        """Waits until no connection and no request is left; False if `timeout` seconds or force_exit come first."""
        if engine.idle and engine.active_requests == 0:
            return True
        if not forced and (engine.connections or engine.active_requests):
            logger.info("Waiting for connections to close. (CTRL+C to force quit)")
        try:
            async with asyncio.timeout(timeout):
                idle = asyncio.ensure_future(engine.wait_idle())
                while not idle.done():
                    if self._force_exit and not forced:
                        return False
                    await self._wait_for_change(idle)
                # A task may outlive its connection: a background task, or one that has not seen the disconnect yet.
                while engine.active_requests > 0:
                    if self._force_exit and not forced:
                        return False
                    await asyncio.sleep(_TASK_POLL)
        except TimeoutError:
            return False
        return True

    async def _start_lifespan(self, lifespan: Lifespan) -> bool:
        """A first signal waits for the start-up, so that what it began can be shut down; a second gives it up."""
        starting = asyncio.ensure_future(lifespan.startup())
        while not starting.done():
            if self._force_exit:
                logger.error("Giving up on the application's startup.")
                lifespan.abandon()
                starting.cancel()
                return False
            await self._wait_for_change(starting)
        return starting.result()

    async def _stop_lifespan(self, lifespan: Lifespan) -> None:
        stopping = asyncio.ensure_future(lifespan.shutdown())
        while not stopping.done():
            if self._stops > 2:
                logger.error("Giving up on the application's shutdown.")
                lifespan.abandon()
                break
            await self._wait_for_change(stopping)
        await stopping

    async def _wait_for_change(self, future: asyncio.Future[Any]) -> None:
        """Waits for `future`, or for the next signal, or change of should_exit or force_exit."""
        assert self._changed is not None
        self._changed.clear()
        change = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait((future, change), return_when=asyncio.FIRST_COMPLETED)
        finally:
            change.cancel()

    def _close_listeners(self) -> None:
        for listener in self.listeners:
            listener.close()
        self.listeners = []

    def _close(self) -> None:
        self._close_listeners()
        if self._engine is not None:
            if not self._engine.idle:
                self._engine.abort()  # only when shutdown() was itself cut short, by a cancellation from outside
            self._engine.close()
            self._engine = None
        if self._access_log is not None:
            self._access_log.close()  # after the engine, which writes to it until it is closed
            self._access_log = None

    # ---- called by the engine

    def _on_error(self, error: BaseException, scope: dict[str, Any]) -> None:
        logger.error(
            "Exception in ASGI application\n",
            exc_info=error,
            extra={"method": scope.get("method"), "path": scope.get("path")},
        )

    def _on_max_requests(self) -> None:
        logger.info("Maximum request limit of %s exceeded. Terminating process.", self.limit_max_requests)
        self.should_exit = True

    async def _notify(self, callback: Callable[[], Awaitable[None]]) -> None:
        while True:
            await callback()
            await asyncio.sleep(self.config.timeout_notify)

    # ---- signals

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Takes SIGINT and SIGTERM, and on Windows SIGBREAK, over, on the main thread only: Python has no handlers
        elsewhere. In a coroutine: the running loop is the one that a signal wakes."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        # Not loop.add_signal_handler: it could not restore what was there before.
        before = {number: signal.signal(number, self.handle_exit) for number in HANDLED_SIGNALS}
        try:
            with woken_by_signals(asyncio.get_running_loop()) as woken:
                self._is_deaf = not woken
                yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if self.reraise_signals:
            for number in reversed(self._signals):
                signal.raise_signal(number)

    def handle_exit(self, number: int, frame: FrameType | None) -> None:
        """The signal handler: the first ends the server, the second cuts what still runs."""
        self._signals.append(number)
        self._stop()

    def _stop(self) -> None:
        # In a signal handler, or on the stop event's thread.
        self._stops += 1
        if self._should_exit:
            self.force_exit = True
        else:
            self.should_exit = True


@contextlib.contextmanager
def capture_stop_event(name: str | None, on_set: Callable[[], None]) -> Iterator[None]:
    """Calls `on_set`, on another thread, each time that the event `name` is set, if there is a name. Raises
    `SystemExit(3)`, after logging why, if there can be no such event."""
    if name is None:
        yield
        return
    from pyre.stop_event import StopEvent

    try:
        event = StopEvent(name, on_set)
    except OSError as error:
        logger.error("%s", error.strerror)
        raise SystemExit(EXIT_STARTUP_FAILURE) from None
    try:
        yield
    finally:
        event.close()


def log_load_error(error: AppLoadError) -> None:
    """Logs why the application cannot be loaded, with the traceback of the user's code, without ours before it."""
    cause = error.__cause__
    if cause is None:
        logger.error("Error loading the application. %s", error)
        return
    traceback = cause.__traceback__
    while traceback is not None and _is_import_machinery(traceback.tb_frame.f_code.co_filename):
        traceback = traceback.tb_next
    logger.error("Error loading the application. %s", error, exc_info=(type(cause), cause, traceback))


def _is_import_machinery(file_name: str) -> bool:
    own = os.path.dirname(os.path.abspath(__file__))
    return (
        file_name.startswith("<frozen importlib")
        or os.path.dirname(file_name) == own
        or "importlib" in file_name.split(os.sep)
    )
