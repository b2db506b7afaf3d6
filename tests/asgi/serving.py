"""Starts a server in a process of its own and asks it things: shared by tests/asgi and tests/frameworks."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import os
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import processes
import pytest
from free_port import free_port
from processes import IS_WINDOWS, UNDER_WINE
from wire import Wire

# Event loops and, behind a plus, how the I/O is hosted: inside the loop, or on a thread of its own, which wakes the
# loop through a handle ("io") or a socket pair ("pair", for loops that cannot watch handles), or on three of them
# ("threads"). On Windows no loop can watch the reactor: the I/O always has its own thread, which wakes the loop through
# a socket pair. "asyncio" is the Proactor loop there, and "selector" the other one that asyncio has.
EMBEDDED = [] if IS_WINDOWS else ["asyncio", "uvloop"]
DETACHED = ["asyncio", "winloop", "selector"] if IS_WINDOWS else ["uvloop+io", "asyncio+pair"]
DETACHED.append("asyncio+threads")
# Two event loops, each on a thread of its own, where Python has no GIL. Not for what makes an Engine itself.
THREADED = ["asyncio+loops"] if sysconfig.get_config_var("Py_GIL_DISABLED") and not IS_WINDOWS else []
LOOPS = EMBEDDED + DETACHED + THREADED
# Those whose task factory and _run_once() are Python.
PYTHON_LOOPS = (
    ["asyncio", "selector", "asyncio+threads"] if IS_WINDOWS else ["asyncio", "asyncio+pair", "asyncio+threads"]
)

# Where the other loops run the whole suite, these run only what the kind of wake-up can matter to: tasks, their
# cancellation, and who wakes whom. The socket pair is for Windows' loop, which does run the whole suite over it; and
# there the usual loop stands for the others. PYRE_TEST_LOOPS names those that run everything ("all" is a name, too):
# what a sanitizer or another Python looks for is not found four times.
REPRESENTATIVE = {"test_asyncio", "test_disconnect", "test_engine", "test_io_thread", "test_request_body"}
REPRESENTED = {"asyncio+threads", "asyncio+loops", *(["winloop", "selector"] if IS_WINDOWS else ["asyncio+pair"])}
if whole := os.environ.get("PYRE_TEST_LOOPS"):
    REPRESENTED = set() if whole == "all" else set(LOOPS).difference(whole.split(","))

# Seconds; how long anything may take before the test gives up. Never an expectation. (Under Wine, on a machine with
# other work, a server that imports a large framework was seen to take 20 s to start.)
HANG_GUARD = float(os.environ.get("PYRE_TEST_HANG_GUARD") or (60.0 if UNDER_WINE else 30.0))
# What runs the servers: an instrumented interpreter is too slow to be the client as well.
PYTHON = os.environ.get("PYRE_TEST_PYTHON") or sys.executable
TEST_TIMEOUT = max(3 * HANG_GUARD if UNDER_WINE else 60.0, 2 * HANG_GUARD)
# What nobody wants to see in a server's output, whatever the test.
NEVER = (
    "Fatal Python error",
    "Exception ignored in",
    "exception was never retrieved",
    "was never awaited",
    "Task was destroyed but it is pending",
    "AddressSanitizer",
    "ThreadSanitizer",
    "runtime error:",
    "Assertion `",
    # What we test with is made for free-threading, where that is what there is.
    *(["has been enabled to load module", "The GIL is on"] if sysconfig.get_config_var("Py_GIL_DISABLED") else []),
)


def hosting(loop: str) -> tuple[str, list[str], dict[str, str]]:
    """An entry of LOOPS as the event loop's name, command line arguments and environment variables."""
    name, _, host = loop.partition("+")
    if name == "selector":
        name = "asyncio:SelectorEventLoop"
    if not host:
        return name, [], {}
    if host == "loops":
        return name, ["--worker-mode", "thread", "--worker-threads", "2"], {}
    if host == "threads":
        return name, ["--io-threads", "3"], {}
    return name, ["--io-threads", "1"], {"PYRE_IO_WAKE": "socket_pair" if host == "pair" else "event"}


def is_installed(loop: str) -> bool:
    package = loop.partition("+")[0]
    return package == "selector" or importlib.util.find_spec(package) is not None


def skip_missing(loop: str, kind: str) -> None:
    """Skips a test for an entry of LOOPS that this machine, or the server of this kind, does not have."""
    if not is_installed(loop):
        pytest.skip(f"{loop.partition('+')[0]} is not installed")
    if "+" in loop and kind != "pyre":
        pytest.skip("pyre only: uvicorn has no I/O threads")


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + HANG_GUARD
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


@contextlib.contextmanager
def python_hangs(server: Server) -> Iterator[None]:
    """The event loop of `server`, which runs hanging:app, is blocked by a handler for as long as the block."""
    name = Path(tempfile.gettempdir()) / f"hang-{uuid.uuid4().hex}"
    began, over = name.with_suffix(".began"), name.with_suffix(".over")
    with server.connect() as wire:
        wire.request("GET", f"/hang?{name.name}")
        try:
            wait_until(began.exists)
            yield
            assert wire.quiet(0.001), "it hangs no longer"
        finally:
            over.touch()  # also when the block failed: others use this server, too
        assert wire.response().text == "hung"
    began.unlink()
    over.unlink()


@contextlib.contextmanager
def clients(count: int, use: Callable[[], None], pause: float) -> Iterator[None]:
    """`count` threads call `use` again and again until the block is over; after one that failed each waits for `pause`
    seconds. What a client sees of a server that ends is not the point."""
    over = threading.Event()

    def client() -> None:
        while not over.is_set():
            try:
                use()
            except Exception:
                time.sleep(pause)

    threads = [threading.Thread(target=client) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


class StartError(Exception):
    """The server ended before it listened."""

    def __init__(self, exit_code: int, output: str) -> None:
        super().__init__(f"exit code {exit_code}\n{output}")
        self.exit_code = exit_code
        self.output = output


class Server:
    """A running server. `kind` is "pyre" or "uvicorn"."""

    def __init__(
        self,
        kind: str,
        app: str,
        *,
        app_dir: Path,
        loop: str = "asyncio",
        arguments: Sequence[str] = (),
        environment: dict[str, str] | None = None,
        uds: str | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.kind = kind
        self.app = app
        self.loop = loop
        self.host = host
        self.uds = uds
        self.port = 0
        # By name, since Windows has no way to read from one place of a file that is written at another.
        descriptor, name = tempfile.mkstemp(prefix="pyre-test-", suffix=".log")
        self._log = os.fdopen(descriptor, "wb")
        self._log_file = Path(name)
        self._marked = 0
        self._stopper = processes.Stopper(kind)
        where = ["--uds", uds] if uds else ["--host", host]
        event_loop, hosted, wake = hosting(loop)
        self._command = [PYTHON, "-m", kind, app, *where, "--loop", event_loop, "--app-dir", str(app_dir)]
        self._command += [*hosted, *self._stopper.arguments, *arguments]
        self._is_silent = "--log-level" in arguments or "--log-config" in arguments
        self._environment = {**os.environ, **wake, **(environment or {}), "PYTHONUNBUFFERED": "1"}
        for attempt in range(4):
            try:
                self._start()
                return
            except StartError as error:
                # Somebody else took the port between our look and the server's bind.
                taken = "in use" in error.output or "has this port" in error.output
                if not taken or attempt == 3:
                    self._forget()
                    raise

    @property
    def address(self) -> Any:
        return self.uds or (self.host, self.port)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        return self.process.pid

    def _start(self) -> None:
        command = list(self._command)
        if not self.uds:
            self.port = free_port()
            command += ["--port", str(self.port)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log, env=self._environment
        )
        until = time.monotonic() + HANG_GUARD
        while True:
            exit_code = self.process.poll()
            if exit_code is not None:
                raise StartError(exit_code, self.output())
            try:
                Wire(self.address).close()
            except OSError:
                listens = False
            except BaseException:
                self.process.kill()
                self.process.wait()
                raise
            else:
                listens = True
            # Another job's server may have taken the port in the meantime, and answer for ours.
            if listens and (self._is_silent or " running on " in self.output()):
                return
            if time.monotonic() > until:
                self.process.kill()
                self.process.wait()
                raise StartError(-1, "it does not listen\n" + self.output())
            time.sleep(0.01)

    def connect(self, **options: Any) -> Wire:
        return Wire(self.address, **options)

    def get(self, path: str, **options: Any) -> Any:
        """A GET request on a connection of its own."""
        with self.connect() as wire:
            wire.request("GET", path, headers=[("connection", "close")], **options)
            return wire.response()

    def journal(self, key: str) -> list[Any]:
        """What the application noted under `key`."""
        noted: list[Any] = ast.literal_eval(self.get(f"/journal?{key}").body.decode())
        return noted

    def wait_for_note(self, key: str, wanted: Callable[[list[Any]], bool] = bool) -> list[Any]:
        """The journal as soon as it is as `wanted` (by default: not empty)."""
        until = time.monotonic() + HANG_GUARD
        while not wanted(noted := self.journal(key)):
            assert time.monotonic() < until, f"the journal of {key!r} is still {noted!r}"
            time.sleep(0.01)
        return noted

    def resident_bytes(self) -> int:
        return processes.resident_bytes(self.process)

    def descriptors(self) -> int:
        return processes.descriptors(self.process)

    def output(self) -> str:
        return self._log_file.read_bytes().decode(errors="replace").replace("\r\n", "\n")

    def new_output(self) -> str:
        """The output since mark()."""
        return self.output()[self._marked :]

    def wait_for_output(self, text: str) -> str:
        until = time.monotonic() + HANG_GUARD
        while text not in (output := self.new_output()):
            assert time.monotonic() < until, f"{text!r} is not in the output:\n{output}"
            time.sleep(0.01)
        return output

    def mark(self) -> None:
        self._marked = len(self.output())

    def check(self) -> None:
        """It lives, and has not said what must never be said."""
        assert self.process.poll() is None, f"the server ended with {self.process.returncode}:\n{self.output()}"
        output = self.new_output()
        for text in NEVER:
            assert text not in output, output

    def wait(self) -> int:
        return self.process.wait(HANG_GUARD)

    def tell_to_stop(self) -> None:
        self._stopper.stop(self.process)

    def stop(self) -> int:
        """Tells it to end, kills it if that is of no use. Returns the exit code."""
        if self.process.poll() is None:
            self.tell_to_stop()
            try:
                self.process.wait(HANG_GUARD)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return self.process.returncode

    def close(self) -> None:
        self.stop()
        self._forget()

    def _forget(self) -> None:
        self._stopper.close()
        self._log.close()
        # On Windows nobody may have it open: a child of the application's, say, that ends a moment after it.
        wait_until(self._unlinked)

    def _unlinked(self) -> bool:
        try:
            self._log_file.unlink()
        except PermissionError:
            return False
        return True


class Servers:
    """Running servers by what they were started with: a start costs more than most tests."""

    def __init__(self, kind: str, app_dir: Path) -> None:
        self.kind = kind
        self._app_dir = app_dir
        self._running: dict[Any, Server] = {}

    def shared(self, app: str, *arguments: str, loop: str) -> Server:
        key = (app, arguments, loop)
        server = self._running.get(key)
        if server is not None and server.process.poll() is not None:
            server.close()
            server = None
        if server is None:
            server = Server(self.kind, app, app_dir=self._app_dir, loop=loop, arguments=arguments)
            self._running[key] = server
        server.mark()
        return server

    @contextlib.contextmanager
    def private(self, app: str, *arguments: str, loop: str = "asyncio", **options: Any) -> Iterator[Server]:
        server = Server(self.kind, app, app_dir=self._app_dir, loop=loop, arguments=arguments, **options)
        try:
            yield server
        finally:
            server.close()

    def close(self) -> None:
        for server in self._running.values():
            server.close()
        self._running.clear()
