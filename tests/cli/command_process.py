"""Runs the command in a process of its own, for tests that talk to it."""

from __future__ import annotations

import ctypes
import http.client
import itertools
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any, Self

import pytest

HANG_GUARD = 60  # seconds; only against hanging, also under a sanitizer

IS_WINDOWS = os.name == "nt"
SITE = Path(__file__).parent / "site"
AF_UNIX = getattr(socket, "AF_UNIX", None)
needs_posix_sockets = pytest.mark.skipif(
    IS_WINDOWS, reason="Windows: Python has no AF_UNIX there, and sockets are not inherited as descriptors"
)
SIGKILL = getattr(signal, "SIGKILL", 9)

_NUMBERS = itertools.count()
_ADDRESS = re.compile(r"Pyre running on (.*?) \(Press CTRL\+C to quit\)")


def is_wine() -> bool:
    if not IS_WINDOWS:
        return False
    return hasattr(ctypes.WinDLL("ntdll"), "wine_get_version")  # type: ignore[attr-defined,unused-ignore]


class Command:
    """`python -m pyre ...`, or `python script ...`, in `directory`. Leaving the block kills what is left of it.

    Windows has signals only inside a process, raised on a thread of its own when something happens at its console.
    There, a thread of the command (site/sitecustomize.py) waits for events to raise them, so that the same tests send
    the same signals.
    """

    def __init__(
        self,
        *arguments: str,
        directory: Path,
        env: dict[str, str] | None = None,
        pass_fds: tuple[int, ...] = (),
        script: str | None = None,
    ) -> None:
        what = ["-m", "pyre"] if script is None else [script]
        env = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1", **(env or {})}
        self._token = ""
        self._events: dict[str, Any] = {}
        system: dict[str, Any]
        if IS_WINDOWS:
            from site_events import GROUP, SIGNALS, create

            self._token = f"pyre-test-{os.getpid()}-{next(_NUMBERS)}"
            for name in (*map(str, SIGNALS), GROUP):
                self._events[name] = create(self._token, name)
            env["PYRE_TEST_SIGNALS"] = env["PYRE_TEST_GROUP"] = self._token
            env["PYTHONPATH"] = os.pathsep.join([str(SITE), env.get("PYTHONPATH", "")])
            system = {}
        else:
            system = {"start_new_session": True, "pass_fds": pass_fds}
        self.process = subprocess.Popen(
            [sys.executable, *what, *arguments],
            cwd=directory,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            **system,
        )
        self.out = Lines(self.process.stdout)
        self.err = Lines(self.process.stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(HANG_GUARD)
        for stream, lines in ((self.process.stdout, self.out), (self.process.stderr, self.err)):
            lines.thread.join(HANG_GUARD)
            assert stream is not None
            stream.close()

    def address(self) -> str:
        """The next address that it says it runs on."""
        match = _ADDRESS.search(self.err.wait_for("Pyre running on"))
        assert match is not None
        return match[1]

    def port(self) -> int:
        return int(self.address().rpartition(":")[2].rstrip(")"))

    def send(self, number: int) -> None:
        if not IS_WINDOWS:
            self.process.send_signal(number)
        elif number == SIGKILL:
            self.process.kill()
        else:
            from site_events import set_event

            set_event(self._events[str(int(number))])

    def send_group(self, number: int) -> None:
        """To all processes of the group, as a terminal does. On Windows it is SIGINT once."""
        if IS_WINDOWS:
            from site_events import GROUP, set_event

            assert number == signal.SIGINT
            set_event(self._events[GROUP])
        else:
            os.killpg(self.process.pid, number)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Ends it by a signal. Its exit code."""
        self.send(number)
        return self.exit_code()

    def exit_code(self) -> int:
        return self.process.wait(HANG_GUARD)


class Lines:
    """The lines of a stream, read by a thread, so that the process never waits for us."""

    def __init__(self, stream: IO[str] | None) -> None:
        assert stream is not None
        self._queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.seen: list[str] = []
        self._stream = stream
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        for line in self._stream:
            self._queue.put(line.rstrip("\n"))
        self._queue.put(None)

    def wait_for(self, text: str) -> str:
        """The next line that has `text` in it."""
        deadline = time.monotonic() + HANG_GUARD
        while True:
            try:
                line = self._queue.get(timeout=max(deadline - time.monotonic(), 0.01))
            except queue.Empty:
                line = None
            assert line is not None, f"no {text!r} in:\n" + "\n".join(self.seen)
            self.seen.append(line)
            if text in line:
                return line

    def rest(self) -> str:
        """All lines, once the stream is at its end."""
        while (line := self._queue.get(timeout=HANG_GUARD)) is not None:
            self.seen.append(line)
        return "\n".join(self.seen)


def get(port: int, path: str = "/", *, host: str = "127.0.0.1", **options: Any) -> tuple[int, str]:
    """Status and body of a GET."""
    connection = http.client.HTTPConnection(host, port, timeout=HANG_GUARD)
    try:
        connection.request(options.pop("method", "GET"), path, **options)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def get_unix(path: Path) -> bytes:
    """The whole answer to a GET over a unix socket."""
    with socket.socket(AF_UNIX or -1) as sock:
        sock.settimeout(HANG_GUARD)
        sock.connect(str(path))
        sock.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        answer = b""
        while piece := sock.recv(65536):
            answer += piece
        return answer
