"""Serves a WSGI application (PEP 3333) as ASGI 3, each request on a thread of a pool.

The coroutine of a request and its thread talk in turns: the thread posts what it wants (send this, receive that,
done) to the loop and waits for the reply, so that a slow client holds the application back instead of filling memory.
"""

from __future__ import annotations

import asyncio
import contextvars
import io
import logging
import queue
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator
from types import TracebackType
from typing import Any
from urllib.parse import unquote_to_bytes

from pyre import _core
from pyre.wsgi_threads import ThreadPool, default_threads

logger = logging.getLogger("pyre.error")

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
WSGIApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]

PREFETCH_BYTES = 64 * 1024
"""A body up to this size is complete before the application gets a thread, so that a slow upload of a form holds no
thread. What is longer is read on demand. It is also how much the engine buffers for a connection, so that it costs at
most as much again."""

FILE_BLOCK_BYTES = 64 * 1024

# Names that a client must not be able to set in the environ: HTTP_PROXY would be taken for a proxy's address by the
# HTTP libraries of CGI's days (CVE-2016-5385).
_REFUSED_HEADERS = frozenset((b"proxy",))


class ClientDisconnected(_core.ClientDisconnected, ConnectionResetError):
    """The client is gone. Raised in the application's thread by `wsgi.input` and by `write()`; it is a
    `pyre.ClientDisconnected`, and the built-in error that a WSGI application may expect."""


class FileWrapper:
    """`wsgi.file_wrapper`: iterates over a file in blocks, and closes it."""

    def __init__(self, file: Any, block_size: int = FILE_BLOCK_BYTES) -> None:
        self.file = file
        self.block_size = block_size
        if hasattr(file, "close"):
            self.close = file.close

    def __iter__(self) -> Iterator[bytes]:
        while block := self.file.read(self.block_size):
            yield block


class WSGIAdapter:
    """An ASGI 3 application that runs `app` on at most `threads` threads (None: min(32, usable cores + 4))."""

    def __init__(self, app: WSGIApplication, threads: int | None = None) -> None:
        self.app = app
        self.threads = threads or default_threads()
        self._pool = ThreadPool(self.threads, "pyre.wsgi")

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"A WSGI application cannot serve {scope['type']!r}.")
        first_body, more_body = await _prefetch(scope, receive)
        call = _Call(self.app, asyncio.get_running_loop())
        stream: io.BufferedIOBase
        if more_body:
            stream = io.BufferedReader(_BodyStream(call, first_body), PREFETCH_BYTES)
        else:
            stream = io.BytesIO(first_body)
        environ = build_environ(scope, stream, multithread=self.threads > 1)
        context = contextvars.copy_context()
        self._pool.submit(lambda: context.run(call.run, environ))
        try:
            await call.serve(receive, send)
        finally:
            call.abandon()

    def close(self) -> None:
        """Lets the threads end."""
        self._pool.close()


async def _prefetch(scope: Message, receive: Receive) -> tuple[bytes, bool]:
    has_body = False
    for name, _ in scope["headers"]:
        if name in (b"content-length", b"transfer-encoding"):
            has_body = True
        elif name == b"expect":
            return b"", True  # the application decides, by reading, whether the client may go on
    if not has_body:
        return b"", False
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b"".join(pieces), True  # the stream says so when it is read
        piece = message.get("body", b"")
        pieces.append(piece)
        size += len(piece)
        if not message.get("more_body", False):
            return b"".join(pieces), False
        if size >= PREFETCH_BYTES:
            return b"".join(pieces), True


def build_environ(scope: Message, stream: Any, *, multithread: bool = True) -> dict[str, Any]:
    """The WSGI environ of an HTTP scope. Strings are "bytes as latin-1", as PEP 3333 has them.

    A header with an underscore in its name is left out: it would pass for the one with a hyphen.
    """
    script_name = scope.get("root_path", "").encode().decode("latin-1")
    raw_path = scope.get("raw_path")
    path = unquote_to_bytes(raw_path) if raw_path is not None else scope["path"].encode()
    path_info = path.decode("latin-1")
    if script_name and (path_info == script_name or path_info.startswith(script_name.rstrip("/") + "/")):
        path_info = path_info[len(script_name) :]
    scheme = scope.get("scheme", "http")
    server = scope.get("server") or ("localhost", None)
    is_unix = server[1] is None
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": script_name,
        "PATH_INFO": path_info,
        "QUERY_STRING": scope.get("query_string", b"").decode("latin-1"),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        # PEP 3333: never empty, and the port is a string. A unix socket has neither.
        "SERVER_NAME": "localhost" if is_unix else str(server[0]),
        "SERVER_PORT": ("443" if scheme == "https" else "80") if is_unix else str(server[1]),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scheme,
        "wsgi.input": stream,
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": multithread,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": FileWrapper,
    }
    client = scope.get("client")
    if client is not None:
        environ["REMOTE_ADDR"] = client[0]
        environ["REMOTE_PORT"] = str(client[1])
    for raw_name, raw_value in scope["headers"]:
        if b"_" in raw_name or raw_name in _REFUSED_HEADERS:
            continue
        if raw_name == b"content-type":
            key = "CONTENT_TYPE"
        elif raw_name == b"content-length":
            key = "CONTENT_LENGTH"
        else:
            key = "HTTP_" + raw_name.decode("latin-1").upper().replace("-", "_")
        value = raw_value.decode("latin-1")
        if key in environ:
            value = environ[key] + ("; " if key == "HTTP_COOKIE" else ",") + value
        environ[key] = value
    return environ


class _BodyStream(io.RawIOBase):
    """`wsgi.input` beyond what was prefetched: each read that finds nothing asks the loop for the next piece."""

    def __init__(self, call: _Call, first: bytes) -> None:
        super().__init__()
        self._call = call
        self._piece = memoryview(first)
        self._more = True

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._piece and self._more:
            message = self._call.ask("receive", None)
            if message["type"] == "http.disconnect":
                # Not the end of the body: an application must not take half an upload for the whole.
                raise ClientDisconnected("The client disconnected before its request was complete.")
            self._piece = memoryview(message.get("body", b""))
            self._more = message.get("more_body", False)
        taken = self._piece[: len(buffer)]
        buffer[: len(taken)] = taken
        self._piece = self._piece[len(taken) :]
        return len(taken)


class _Call:
    """One request: `run()` on the thread, `serve()` on the loop."""

    def __init__(self, app: WSGIApplication, loop: asyncio.AbstractEventLoop) -> None:
        self._app = app
        self._loop = loop
        # Loop's side
        self._posted: list[tuple[str, Any]] = []
        self._waiter: asyncio.Future[None] | None = None
        # Between both: at most one item waits here for the thread, and after abandon() one more.
        self._replies: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        self._abandoned = False
        # Thread's side
        self._status = 0
        self._headers: list[tuple[bytes, bytes]] | None = None
        self._headers_sent = False
        self._content_length: int | None = None
        self._sent = 0
        self._finished = False
        self._last: list[Message] = []

    # ---- on the loop

    async def serve(self, receive: Receive, send: Send) -> None:
        """Does what the thread asks for until it is done. Raises what the application raised."""
        while True:
            while not self._posted:
                self._waiter = self._loop.create_future()
                await self._waiter
            kind, value = self._posted.pop(0)
            if kind == "done":
                messages, failure = value
                try:
                    await self._send_all(send, messages)
                except OSError:
                    return  # the client is gone; nothing is left to do for it
                if failure is None or isinstance(failure, ClientDisconnected):
                    return
                if not isinstance(failure, Exception):  # SystemExit in a task would end the server
                    raise RuntimeError(f"The application raised {failure!r}.") from failure
                raise failure
            if kind == "last":
                try:
                    await self._send_all(send, value)
                except Exception as error:
                    if not isinstance(error, OSError):
                        logger.error("The last part of a WSGI response cannot be sent: %s", error)
                continue
            reply: Any = None
            problem: BaseException | None = None
            try:
                if kind == "send":
                    await self._send_all(send, value)
                else:
                    reply = await receive()
            except OSError:
                problem = ClientDisconnected("The client disconnected before its response was complete.")
            except Exception as error:
                problem = error
            self._replies.put((reply, problem))

    @staticmethod
    async def _send_all(send: Send, messages: list[Message]) -> None:
        for message in messages:
            await send(message)

    def abandon(self) -> None:
        """The coroutine ends: whatever the thread asks from now on, it is told that the client is gone."""
        self._abandoned = True
        self._replies.put((None, ClientDisconnected("The request was cancelled.")))

    def _deliver(self, kind: str, value: Any) -> None:
        self._posted.append((kind, value))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # ---- on the thread

    def _post(self, kind: str, value: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(self._deliver, kind, value)
        except RuntimeError:  # the loop is closed: the server ended without waiting for this application
            self._abandoned = True

    def ask(self, kind: str, value: Any) -> Any:
        """Has the loop do something, and waits for it. Raises what that raised."""
        if not self._abandoned:
            self._post(kind, value)
        if self._abandoned:
            raise ClientDisconnected("The request was cancelled.")
        reply, problem = self._replies.get()
        if problem is not None:
            raise problem
        return reply

    def run(self, environ: dict[str, Any]) -> None:
        result: Any = None
        failure: BaseException | None = None
        try:
            result = self._app(environ, self.start_response)
            self._iterate(result)
        except BaseException as error:
            failure = error
        close = getattr(result, "close", None)
        if close is not None:
            try:
                close()
            except BaseException as error:
                if failure is None:
                    failure = error
                else:
                    logger.error("close() of a WSGI response failed", exc_info=error)
        self._post("done", (self._last, failure))

    def _iterate(self, result: Iterable[bytes]) -> None:
        # PEP 3333: a result of length 1 is known to be complete, which spares the application a Content-Length.
        single = isinstance(result, list | tuple) and len(result) == 1
        for piece in result:
            self._check_piece(piece)
            if not piece:
                continue
            self._sent += len(piece)
            if single or self._sent == self._content_length:
                self._finish(piece, has_close=hasattr(result, "close"))
                # What comes after a reached Content-Length is checked to be nothing, but the client has its answer.
            else:
                self.ask("send", self._messages(piece, more_body=True))
        if not self._finished:
            self._finish(b"", has_close=hasattr(result, "close"))

    def _finish(self, piece: bytes, *, has_close: bool) -> None:
        messages = self._messages(piece, more_body=False)
        self._finished = True
        if has_close:
            self._post("last", messages)  # the client need not wait for close(), where frameworks do their after-work
        else:
            self._last = messages

    def _messages(self, piece: bytes, *, more_body: bool) -> list[Message]:
        if self._headers is None:
            raise RuntimeError("The application did not call start_response() before its first piece of the body.")
        if self._finished:
            raise RuntimeError("The application's body is longer than its Content-Length.")
        messages: list[Message] = []
        if not self._headers_sent:
            self._headers_sent = True
            messages.append({"type": "http.response.start", "status": self._status, "headers": self._headers})
        messages.append({"type": "http.response.body", "body": piece, "more_body": more_body})
        return messages

    @staticmethod
    def _check_piece(piece: Any) -> None:
        if not isinstance(piece, bytes):
            raise TypeError(f"A WSGI application's body must be bytes, not {type(piece).__name__}.")

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], None]:
        if exc_info is not None:
            try:
                if self._headers_sent:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # breaks the cycle through the traceback's frame
        elif self._headers is not None:
            raise AssertionError("start_response() was called twice without exc_info.")
        code, _, _reason = status.partition(" ")
        if len(code) != 3 or not code.isascii() or not code.isdigit():
            raise ValueError(f"The status {status!r} must be like '200 OK'.")
        encoded = []
        content_length = None
        for name, value in headers:
            key = name.encode("latin-1").lower()
            encoded.append((key, value.encode("latin-1")))
            if key == b"content-length" and value.isascii() and value.isdigit():
                content_length = int(value)
        self._status = int(code)
        self._headers = encoded
        self._content_length = content_length
        return self.write

    def write(self, piece: bytes) -> None:
        self._check_piece(piece)
        if piece:
            self._sent += len(piece)
            self.ask("send", self._messages(piece, more_body=True))
