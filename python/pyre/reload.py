"""The reloader: holds the listening sockets, and runs the server in a child process that it replaces when files change.

As the sockets stay open in this process, a client that comes during a restart waits in the backlog and is served by
the next child. The child is started by exec, never by fork. A pipe between the two carries the child's options and
then single-byte commands; its end tells the child that this process is gone.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import struct
import subprocess
import sys
import threading
from types import FrameType
from typing import Any

from pyre import flags
from pyre.config import Config
from pyre.errors import EXIT_STARTUP_FAILURE, BindError, ConfigError
from pyre.reload_watch import FileFilter, Watcher, make_watcher, watched_directories
from pyre.server import ABORT_GRACE
from pyre.sockets import Listener

logger = logging.getLogger("pyre.error")

STOP = b"s"
RESTART = b"r"
FORCE = b"f"

RESTART_DRAIN = 3.0
"""Seconds that running requests have when the application is started anew: a developer waits for it, and has a page
with an event stream open."""

_END_GRACE = 10.0
"""Seconds beyond all of the child's own time-outs, for its lifespan shut-down, before it is killed."""


class Reloader:
    """Runs `config.app` in a child process, until SIGINT or SIGTERM, and anew after each change. `config.app` must be
    a string."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._stopping = threading.Event()
        self._signals = 0
        self._child: subprocess.Popen[bytes] | None = None
        self._commands: int = -1

    def run(self) -> None:
        """Returns after a signal, when the child has ended. Raises `SystemExit(3)` if a socket cannot be bound."""
        listeners = self._bind()
        directories = watched_directories(self.config)
        watcher = make_watcher(directories, FileFilter(self.config), self.config.reload_delay, self._stopping)
        before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            logger.info("Will watch for changes in these directories: %s", [str(path) for path in directories])
            logger.info("Started reloader process [%d] using %s", os.getpid(), watcher.name)
            for listener in listeners:
                logger.info(
                    "Pyre running on %s (Press CTRL+C to quit)", listener.name, extra={"address": listener.name}
                )
            self._start(listeners)
            self._watch(watcher, listeners)
            self._end(STOP, self.config.timeout_graceful_shutdown)
            logger.info("Stopping reloader process [%d]", os.getpid())
        finally:
            if self._child is not None and self._child.poll() is None:
                self._child.kill()
                self._child.wait()
            for number, handler in before.items():
                signal.signal(number, handler)
            for listener in listeners:
                listener.close()

    def _bind(self) -> list[Listener]:
        listeners: list[Listener] = []
        try:
            listeners = self.config.bind_sockets()
            for listener in listeners:
                listener.listen(self.config.backlog)
        except BindError as error:
            for listener in listeners:
                listener.close()
            logger.error("%s", error.strerror)
            raise SystemExit(EXIT_STARTUP_FAILURE) from None
        return listeners

    def _watch(self, watcher: Watcher, listeners: list[Listener]) -> None:
        reported = False
        while not self._stopping.is_set():
            changes = watcher.wait()
            if self._stopping.is_set():
                return
            if changes:
                logger.warning("%s detected changes in %s. Reloading...", watcher.name, ", ".join(_shown(changes)))
                self._end(RESTART, RESTART_DRAIN)
                if self._stopping.is_set():
                    return
                self._start(listeners)
                reported = False
            elif not reported and self._child is not None and self._child.poll() is not None:
                logger.warning(
                    "The server process ended with code %d. Waiting for a change to start it again.",
                    self._child.returncode,
                )
                reported = True

    def _start(self, listeners: list[Listener]) -> None:
        read_fd, write_fd = os.pipe()
        fds = [listener.sock.fileno() for listener in listeners]
        # sys.path comes first: pyre itself may be found only there.
        code = f"import sys; sys.path[:] = {sys.path!r}; from pyre.reload_child import main; main({read_fd})"
        interpreter_flags: list[str] = getattr(subprocess, "_args_from_interpreter_flags", list)()
        try:
            payload = pickle.dumps({"options": child_options(self.config), "argv": sys.argv, "sockets": fds})
            self._child = subprocess.Popen(
                [sys.executable, *interpreter_flags, "-c", code], pass_fds=[read_fd, *fds], close_fds=True
            )
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            os.close(write_fd)
            raise ConfigError(f"With --reload every option must be something that can be pickled: {error}") from error
        finally:
            os.close(read_fd)
        self._commands = write_fd
        try:
            with os.fdopen(os.dup(write_fd), "wb") as pipe:
                pipe.write(struct.pack("!Q", len(payload)) + payload)
        except BrokenPipeError:
            pass  # it died at once; _watch() reports it

    def _end(self, command: bytes, drain: float | None) -> None:
        """Ends the child: by its own graceful shutdown, by force after a second signal, by SIGKILL when it does not
        obey."""
        child = self._child
        if child is None:
            return
        self._command(command)
        patience = None if drain is None else drain + ABORT_GRACE + _END_GRACE
        waited = 0.0
        forced = False
        while True:
            try:
                child.wait(0.1)
                break
            except subprocess.TimeoutExpired:
                waited += 0.1
            if self._signals > 1 and not forced:
                forced = True
                self._command(FORCE)
                patience = waited + ABORT_GRACE + _END_GRACE
            if patience is not None and waited > patience:
                logger.error("The server process [%d] does not end. Killing it.", child.pid)
                child.kill()
                child.wait()
                break
        os.close(self._commands)
        self._commands = -1
        self._child = None

    def _command(self, command: bytes) -> None:
        try:
            os.write(self._commands, command)
        except BrokenPipeError:
            pass

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # A terminal's Ctrl-C goes to the child too. It gets a command from us besides, not a second signal.
        self._signals += 1
        self._stopping.set()


def child_options(config: Config) -> dict[str, Any]:
    """The options for the child's `Config`: without those for us, and without those that were already warned of."""
    options = dict(config.options)
    for name in ("reload", "reload_dirs", "reload_includes", "reload_excludes", "reload_delay"):
        options.pop(name)
    for name in ("host", "port", "uds", "uds_permissions", "fd", "bind", "ipv6_only"):
        options.pop(name)  # the child gets sockets
    return {
        name: value
        for name, value in options.items()
        if name not in flags.BY_PARAMETER or flags.BY_PARAMETER[name].judge(value)[0] == "implemented"
    }


def _shown(changes: list[str]) -> list[str]:
    shown = []
    for path in sorted(changes)[:5]:
        relative = os.path.relpath(path)
        shown.append(f"'{path if relative.startswith('..') else relative}'")
    if len(changes) > 5:
        shown.append(f"and {len(changes) - 5} more")
    return shown
