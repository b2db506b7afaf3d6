"""A stand-in for the native `pyre._core`, so that the Python half can be tested alone: HTTP/1.1 without keep-alive on
asyncio streams.

It does nothing well; it keeps to the contract in `_core.pyi` as far as these tests see it.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import json
import os
import socket
import sys
import types
from typing import Any, ClassVar

__version__ = "0.0.0"

KNOWN_OPTIONS = frozenset(
    """
    root_path scheme state server_header date_header default_headers forwarded_allow_ips static static_max_age
    compress compress_min_size compress_types
    access_log_fd
    access_log_format limit_concurrency limit_request_line limit_request_fields limit_request_header_size
    limit_request_body limit_connections timeout_header timeout_body timeout_body_min_rate timeout_write
    timeout_keep_alive limit_max_requests on_error on_max_requests io_threads io_wake overflow
    """.split()
)


class ClientDisconnected(OSError):
    """As the native one."""


def build_info() -> dict[str, str]:
    return {"core": "fake"}


def _copy(fd: int) -> socket.socket:
    if os.name != "nt":
        return socket.socket(fileno=os.dup(fd))
    original = socket.socket(fileno=fd)
    try:
        copy = original.dup()
        copy.setblocking(False)  # Windows cannot be asked whether the original blocks
        return copy
    finally:
        original.detach()


class Engine:
    made: ClassVar[list[Engine]] = []

    def __init__(self, app: Any, loop: asyncio.AbstractEventLoop, options: dict[str, Any]) -> None:
        unknown = set(options) - KNOWN_OPTIONS
        if unknown:
            raise TypeError(f"unknown options {unknown}")
        self.app = app
        self.loop = loop
        self.options = options
        self.calls: list[str] = []
        self.context = contextvars.copy_context()
        self._servers: list[asyncio.Task[Any]] = []
        self._listeners: list[socket.socket] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._idle_waiters: list[asyncio.Future[None]] = []
        self._total = 0
        Engine.made.append(self)

    def listen(self, fd: int, unix: bool = False) -> None:
        sock = _copy(fd)
        self._listeners.append(sock)
        self._servers.append(self.loop.create_task(self._accept(sock)))

    async def _accept(self, sock: socket.socket) -> None:
        while True:
            peer, _ = await self.loop.sock_accept(sock)
            reader, writer = (
                await asyncio.open_connection(sock=peer)
                if peer.family != getattr(socket, "AF_UNIX", None)
                else (await asyncio.open_unix_connection(sock=peer))
            )
            self._writers.add(writer)
            task = self.loop.create_task(self._connection(reader, writer), context=self.context.copy())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._request(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()
            if self.idle:
                for waiter in self._idle_waiters:
                    if not waiter.done():
                        waiter.set_result(None)

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, version = head[0].split(" ")
        path, _, query = target.partition("?")
        headers = []
        for line in head[1:]:
            if line:
                name, _, value = line.partition(":")
                headers.append((name.lower().encode("latin-1"), value.strip().encode("latin-1")))
        length = int(dict(headers).get(b"content-length", b"0"))
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.5"},
            "http_version": version.removeprefix("HTTP/"),
            "method": method,
            "scheme": self.options.get("scheme", "http"),
            "path": path,
            "raw_path": path.encode("latin-1"),
            "query_string": query.encode("latin-1"),
            "root_path": self.options.get("root_path", ""),
            "headers": headers,
            "client": ("127.0.0.1", 1234),
            "server": ("127.0.0.1", 80),
            "state": dict(self.options.get("state") or {}),
        }
        left = length
        started = False
        complete = False
        size = 0
        status = 0

        async def receive() -> dict[str, Any]:
            nonlocal left
            if complete or (left == 0 and length > 0 and receive_done[0]):
                await reader.read()
                return {"type": "http.disconnect"}
            piece = await reader.read(min(left, 16 * 1024)) if left else b""
            if left and not piece:
                return {"type": "http.disconnect"}
            left -= len(piece)
            if left == 0:
                receive_done[0] = True
            return {"type": "http.request", "body": piece, "more_body": left > 0}

        receive_done = [False]

        async def send(message: dict[str, Any]) -> None:
            nonlocal started, complete, size, status
            if writer.is_closing():
                raise ConnectionResetError("gone")
            if message["type"] == "http.response.start":
                started = True
                status = message["status"]
                lines = [f"HTTP/1.1 {status} X"]
                fields = [(k.decode(), v.decode("latin-1")) for k, v in message.get("headers", [])]
                lines += [f"{k}: {v}" for k, v in [*fields, *self.options.get("default_headers", [])]]
                writer.write(("\r\n".join([*lines, "connection: close"]) + "\r\n\r\n").encode("latin-1"))
            else:
                size += len(message.get("body", b""))
                writer.write(message.get("body", b""))
                complete = not message.get("more_body", False)
            await writer.drain()

        try:
            await self.app(scope, receive, send)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self.options["on_error"](error, scope)
            if not started:
                writer.write(b"HTTP/1.1 500 X\r\nconnection: close\r\n\r\nInternal Server Error")
            return
        self._log(scope, status, size)
        self._total += 1
        if self._total == self.options.get("limit_max_requests"):
            self.options["on_max_requests"]()

    def _log(self, scope: dict[str, Any], status: int, size: int) -> None:
        fd = self.options.get("access_log_fd", -1)
        if fd < 0:
            return
        if self.options["access_log_format"] == "json":
            line = json.dumps(
                {
                    "client": "127.0.0.1:1234",
                    "method": scope["method"],
                    "path": scope["path"],
                    "query": scope["query_string"].decode(),
                    "http_version": scope["http_version"],
                    "status": status,
                    "bytes": size,
                    "duration_ms": 1.5,
                    "user_agent": "",
                }
            )
        else:
            line = f'INFO:     127.0.0.1:1234 - "{scope["method"]} {scope["path"]} HTTP/1.1" {status} {size} 0.0015'
        os.write(fd, line.encode() + b"\n")

    def stop_listening(self) -> None:
        self.calls.append("stop_listening")
        for task in self._servers:
            task.cancel()
        for sock in self._listeners:
            with contextlib.suppress(NotImplementedError):  # a Proactor loop
                self.loop.remove_reader(sock)
            sock.close()

    def drain(self) -> None:
        self.calls.append("drain")

    def abort(self) -> None:
        self.calls.append("abort")
        for writer in self._writers:
            writer.transport.abort()
        for task in self._tasks:
            task.cancel()

    @property
    def idle(self) -> bool:
        return not self._writers

    @property
    def active_requests(self) -> int:
        return len(self._tasks)

    @property
    def connections(self) -> int:
        return len(self._writers)

    def wait_idle(self) -> asyncio.Future[None]:
        waiter = self.loop.create_future()
        if self.idle:
            waiter.set_result(None)
        else:
            self._idle_waiters.append(waiter)
        return waiter

    def stats(self) -> dict[str, int]:
        return {"requests_total": self._total}

    def close(self) -> None:
        self.calls.append("close")


def install() -> None:
    """Has `import pyre` work where the native module is not built."""
    module = types.ModuleType("pyre._core")
    module.__dict__.update(
        __version__=__version__, build_info=build_info, Engine=Engine, ClientDisconnected=ClientDisconnected
    )
    sys.modules["pyre._core"] = module
