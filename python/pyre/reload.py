"""The reloader: holds the listening sockets, and runs the server in a child process that it replaces when files change.

As the sockets stay open in this process, a client that comes during a restart waits in the backlog and is served by
the next child. The child is started by exec, never by fork. A pipe between the two carries the child's options and
then single-byte commands; its end tells the child that this process is gone.

On Windows, where a listener belongs for ever to the first completion port that it is associated with, no process
associates it: the children accept by events. They are given it by that pipe too (WSADuplicateSocket), as no descriptor
is inherited by number.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import subprocess
import threading
from types import FrameType
from typing import Any

from pyre import flags
from pyre.config import Config
from pyre.errors import EXIT_STARTUP_FAILURE, BindError, ConfigError
from pyre.reload_pipe import CommandPipe
from pyre.reload_watch import FileFilter, Watcher, make_watcher, watched_directories
from pyre.server import ABORT_GRACE, HANDLED_SIGNALS, capture_stop_event
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
    """Runs `config.app` in a child process, until a signal or the stop event, and anew after each change. `config.app`
    must be a string."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._stopping = threading.Event()
        self._stops = 0  # signals, and sets of the stop event
        self._child: subprocess.Popen[bytes] | None = None
        self._pipe: CommandPipe | None = None

    def run(self) -> None:
        """Returns after a signal, when the child has ended. Raises `SystemExit(3)` if a socket cannot be bound."""
        with capture_stop_event(self.config.stop_event, self._stop):
            self._run()

    def _run(self) -> None:
        listeners = self._bind()
        directories = watched_directories(self.config)
        watcher = make_watcher(directories, FileFilter(self.config), self.config.reload_delay, self._stopping)
        before = {number: signal.signal(number, self._on_signal) for number in HANDLED_SIGNALS}
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
        try:
            options = pickle.dumps(child_options(self.config))
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise ConfigError(f"With --reload every option must be something that can be pickled: {error}") from error
        self._pipe = CommandPipe()
        self._child = self._pipe.start(options, [listener.sock for listener in listeners])

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
            if self._stops > 1 and not forced:
                forced = True
                self._command(FORCE)
                patience = waited + ABORT_GRACE + _END_GRACE
            if patience is not None and waited > patience:
                logger.error("The server process [%d] does not end. Killing it.", child.pid)
                child.kill()
                child.wait()
                break
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None
        self._child = None

    def _command(self, command: bytes) -> None:
        if self._pipe is not None:
            self._pipe.write(command)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # A terminal's Ctrl-C goes to the child too. It gets a command from us besides, not a second signal.
        self._stop()

    def _stop(self) -> None:
        self._stops += 1
        self._stopping.set()


def child_options(config: Config) -> dict[str, Any]:
    """The options for the child's `Config`: without those for us, and without those that were already warned of."""
    options = dict(config.options)
    for name in ("reload", "reload_dirs", "reload_includes", "reload_excludes", "reload_delay"):
        options.pop(name)
    options.pop("stop_event")  # it is set for us
    for name in ("host", "port", "uds", "uds_permissions", "fd", "bind", "ipv6_only", "reuse_port"):
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
