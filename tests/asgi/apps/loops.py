"""What an application on several event loops sees: which loop, which state, what else runs at the same time."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import gc
import itertools
import json
import os
import re
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

from app_tools import Application, Receive, Scope, Send, note, respond

app = Application()
barrier = threading.Barrier(2)
starts = itertools.count()
present: set[str] = set()
tasks: list[asyncio.Task[None]] = []

# Seconds. Where there is a GIL, nobody loses it to another thread but in a call that blocks: see /meet.
sys.setswitchinterval(1000)


def write(text: str) -> None:
    with open(os.environ["LIFESPAN_FILE"], "a") as file:
        file.write(text + "\n")


def told(suffix: str) -> bool:
    return os.path.exists(os.environ["LIFESPAN_FILE"] + suffix)


def tell(suffix: str) -> None:
    open(os.environ["LIFESPAN_FILE"] + suffix, "w").close()


class Connection:
    """To a server that sends back each line."""

    def __init__(self, pool: Pool, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.pool = pool
        self.reader = reader
        self.writer = writer

    async def query(self) -> str:
        self.writer.write(self.pool.name.encode() + b"\n")
        await self.writer.drain()
        return (await self.reader.readline()).decode().strip()


class Pool:
    """As those of asyncpg: bound to the loop that it was made on, with connections that are waited for by futures of
    that loop. Another loop's use of it is an error."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.name = threading.current_thread().name
        self._idle: deque[Connection] = deque()
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def open(self, size: int) -> None:
        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while line := await reader.readline():
                writer.write(line)
            writer.close()

        self._server = await asyncio.start_server(echo, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        for _ in range(size):
            self._idle.append(Connection(self, *await asyncio.open_connection("127.0.0.1", port)))

    async def close(self) -> None:
        for connection in self._idle:
            connection.writer.close()
            await connection.writer.wait_closed()
        self._server.close()

    @contextlib.asynccontextmanager
    async def acquire(self) -> AsyncIterator[Connection]:
        if asyncio.get_running_loop() is not self.loop:
            raise RuntimeError("the pool is attached to a different loop")
        while not self._idle:
            future = self.loop.create_future()
            self._waiting.append(future)
            note("waited", self.name)
            await future
        connection = self._idle.popleft()
        try:
            yield connection
        finally:
            self._idle.append(connection)
            if self._waiting:
                self._waiting.popleft().set_result(None)


async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
    """`app` with a lifespan that fills the state, and writes down what happens. FAIL says what goes wrong."""
    if scope["type"] != "lifespan":
        await app(scope, receive, send)
        return
    fail = os.environ.get("FAIL")
    loop = asyncio.get_running_loop()
    await receive()
    first = next(starts) == 0
    write("startup")
    if fail == "later" and not first:
        await asyncio.sleep(0.2)
        raise ValueError("this loop cannot start")
    if fail == "exit in startup" and not first:
        loop.call_soon(sys.exit, 7)
        await asyncio.sleep(600)
    if fail == "one waits":
        if first:
            await asyncio.sleep(600)
        raise ValueError("this loop cannot start")
    pool = Pool()
    await pool.open(2)
    scope["state"].update(loop=id(loop), pool=pool, shared=threading.Lock())
    await send({"type": "lifespan.startup.complete"})
    await receive()
    if fail == "exit in shutdown" and first:
        loop.call_soon(sys.exit, 7)
        await asyncio.sleep(600)
    if fail == "hang in shutdown" and first:
        tell(".hanging")
        time.sleep(600)
    while fail == "slow shutdown" and pool.name == "pyre.loop-1" and not told(".release"):
        await asyncio.sleep(0.01)
    await pool.close()
    write("shutdown")
    await send({"type": "lifespan.shutdown.complete"})


if os.environ.get("FAIL") == "no thread":
    _start = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        if thread.name == "pyre.loop-1":
            raise RuntimeError("can't start new thread")
        _start(thread)

    threading.Thread.start = start  # type: ignore[method-assign]


def impatient() -> Any:
    for _ in range(2):
        signal.raise_signal(signal.SIGTERM)
    return with_state


@app.handler
async def where(scope: Scope, receive: Receive, send: Send) -> None:
    state = scope.get("state", {})
    here: dict[str, Any] = {
        "thread": threading.current_thread().name,
        "gil": sys._is_gil_enabled(),
        "own_state": state.get("loop") == id(asyncio.get_running_loop()),
        "lock": id(state.get("shared")),
    }
    await respond(send, json.dumps(here))


@app.handler
async def meet(scope: Scope, receive: Receive, send: Send) -> None:
    """Looks for another request that does so, and does nothing that lets go of the interpreter meanwhile."""
    name = threading.current_thread().name
    until = time.monotonic() + 25
    present.add(name)
    while not (met := len(present) > 1) and time.monotonic() < until:
        pass
    await respond(send, json.dumps({"thread": name, "met": met, "gil": sys._is_gil_enabled()}))


@app.handler
async def query(scope: Scope, receive: Receive, send: Send) -> None:
    names = set()
    async with scope["state"]["pool"].acquire() as connection:
        while not told(".release"):
            await asyncio.sleep(0.01)
    for _ in range(5):
        async with scope["state"]["pool"].acquire() as connection:
            names.add(await connection.query())
    await respond(send, ",".join(names))


@app.handler
async def doze(scope: Scope, receive: Receive, send: Send) -> None:
    note("doze", threading.current_thread().name)
    with open(os.environ["LIFESPAN_FILE"] + ".dozing", "a") as file:
        file.write(".")
    while not told(".release"):
        await asyncio.sleep(0.01)
    await respond(send, "dozed")


@app.handler
async def nap(scope: Scope, receive: Receive, send: Send) -> None:
    """Blocks its thread until it is told to go on, so that what comes for it meanwhile is found all at once."""
    until = time.monotonic() + 60
    tell(".napping")
    while not told(".awake"):
        assert time.monotonic() < until
        time.sleep(0.01)
    await respond(send, "awake")


@app.handler
async def meet_and_wait_for_the_end(scope: Scope, receive: Receive, send: Send) -> None:
    barrier.wait(60)
    await receive()  # the empty body
    event = await asyncio.wait_for(receive(), 60)
    await respond(send, json.dumps({"thread": threading.current_thread().name, "event": event["type"]}))


@app.handler
async def meet_and_tell(scope: Scope, receive: Receive, send: Send) -> None:
    """Waits for another one in plain blocking code, then answers with what it got, in a response that is long."""
    barrier.wait(60)
    body = b""
    while True:
        event = await receive()
        body += event.get("body", b"")
        if not event.get("more_body"):
            break
    here = {
        "thread": threading.current_thread().name,
        "own_state": scope["state"]["loop"] == id(asyncio.get_running_loop()),
        "client": scope["client"],
        "body": len(body),
    }
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(here).encode().ljust(300), "more_body": True})
    for _ in range(40):
        await send({"type": "http.response.body", "body": b" " * 65536, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


@app.handler
async def hang(scope: Scope, receive: Receive, send: Send) -> None:
    """Never comes back: how is in the path."""
    how = scope["path"].rpartition("/")[2]
    atexit.register(write, "atexit")
    tell(".hanging")
    while how == "naps":
        time.sleep(0.05)
    while how == "spin":
        pass
    if how == "regex":  # C code that never lets go of the interpreter; a collection would wait for that, at any time
        gc.disable()
        re.match("(a|a)*$", "a" * 60 + "b")
    time.sleep(600)


@app.handler
async def hang_when_cancelled(scope: Scope, receive: Receive, send: Send) -> None:
    async def background() -> None:
        try:
            await asyncio.sleep(600)
        finally:
            time.sleep(600)

    tasks.append(asyncio.create_task(background()))
    await respond(send, "later")


@app.handler
async def leave_when_told(scope: Scope, receive: Receive, send: Send) -> None:
    loop = asyncio.get_running_loop()

    def look() -> None:
        if told(".release"):
            sys.exit(7)
        loop.call_later(0.01, look)

    look()
    note("leaves", threading.current_thread().name)
    await asyncio.sleep(600)


@app.handler
async def stop_loop(scope: Scope, receive: Receive, send: Send) -> None:
    asyncio.get_running_loop().stop()
    await asyncio.sleep(600)


@app.handler
async def leave(scope: Scope, receive: Receive, send: Send) -> None:
    asyncio.get_running_loop().call_soon(sys.exit, 7)  # in a request's own task it would be the application's error
    await asyncio.sleep(600)


@app.handler
async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    pieces = []
    while True:
        event = await receive()
        pieces.append(event.get("body", b""))
        if not event.get("more_body"):
            break
    await respond(send, b"".join(pieces))


def the_server() -> Any:
    from pyre.loop_threads import ThreadServer

    (server,) = (item for item in gc.get_objects() if isinstance(item, ThreadServer))
    return server


@app.handler
async def stats(scope: Scope, receive: Receive, send: Send) -> None:
    await respond(send, json.dumps(the_server().stats()))


@app.handler
async def watch_stats(scope: Scope, receive: Receive, send: Send) -> None:
    """Has a thread read the counters again and again, until the process ends."""
    server = the_server()
    seen = threading.Event()

    def watch() -> None:
        write("counted")
        try:
            while True:
                server.stats()
                seen.set()
        except BaseException as error:
            write(repr(error))

    threading.Thread(target=watch, daemon=True).start()
    while not seen.is_set():
        await asyncio.sleep(0.01)
    await respond(send, "watching")


@app.handler
async def elsewhere(scope: Scope, receive: Receive, send: Send) -> None:
    """What becomes of a request's own objects on another thread, while the request goes on here."""
    task = asyncio.current_task()
    assert task is not None
    coroutine: Any = task.get_coro()
    sending, receiving = send({"type": "http.response.start", "status": 200}), receive()
    waiting = asyncio.ensure_future(receive())
    await asyncio.sleep(0)
    outcomes: list[str] = []

    def attempt(function: Any, *arguments: Any) -> None:
        try:
            function(*arguments)
        except (RuntimeError, StopIteration, AttributeError) as error:
            outcomes.append(type(error).__name__)
        else:
            outcomes.append("nothing")

    def foreign() -> None:
        async def use(awaitable: Any) -> None:
            await awaitable

        attempt(asyncio.run, use(send({"type": "http.response.body"})))
        attempt(asyncio.run, use(receive()))
        attempt(asyncio.run, use(receiving))
        attempt(receiving.throw, ValueError)
        attempt(coroutine.send, None)
        attempt(coroutine.close)
        attempt(getattr, coroutine, "cr_frame")
        waiter = getattr(waiting, "_fut_waiter", None)
        if waiter is not None:
            attempt(waiter.cancel)
            attempt(waiter.add_done_callback, print)

    thread = threading.Thread(target=foreign)
    thread.start()
    while thread.is_alive():
        await asyncio.sleep(0.001)
    receiving.close()
    await sending
    waiting.cancel()
    await send({"type": "http.response.body", "body": json.dumps(outcomes).encode()})


@app.handler
async def changing(scope: Scope, receive: Receive, send: Send) -> None:
    """Another thread changes the events, and the headers in them, while they are sent."""
    over = threading.Event()
    headers: list[Any] = [[b"x-a", b"b"]]
    event: dict[str, Any] = {"type": "http.response.start", "status": 200, "headers": headers}

    def change() -> None:
        number = 0
        while not over.is_set():
            number += 1
            event["headers"] = headers = [[b"x-a", str(number).encode() * 20] for _ in range(number % 5)]
            event["status"] = int(str(200 + number % 2))
            headers.append([b"x-b", b"c"])
            headers[0][1] = b"changed"
            del headers[0]

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(200):
            try:
                await send({**event, "status": 999_999})  # refused after its headers were looked at, or before
            except ValueError:
                pass
        await send(event)
    finally:
        over.set()
        thread.join()
    await send({"type": "http.response.body", "body": b"changed"})
