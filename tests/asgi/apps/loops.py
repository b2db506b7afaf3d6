"""What an application on several event loops sees: which loop, which state, what else runs at the same time."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
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


def write(text: str) -> None:
    with open(os.environ["LIFESPAN_FILE"], "a") as file:
        file.write(text + "\n")


class Connection:
    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    async def query(self) -> str:
        assert asyncio.get_running_loop() is self.pool.loop
        await asyncio.sleep(0)
        return self.pool.name


class Pool:
    """As those of asyncpg: bound to the loop that it was made on, with connections that are waited for by futures of
    that loop. Another loop's use of it is an error."""

    def __init__(self, size: int) -> None:
        self.loop = asyncio.get_running_loop()
        self.name = threading.current_thread().name
        self._idle = deque(Connection(self) for _ in range(size))
        self._waiting: deque[asyncio.Future[None]] = deque()

    @contextlib.asynccontextmanager
    async def acquire(self) -> AsyncIterator[Connection]:
        if asyncio.get_running_loop() is not self.loop:
            raise RuntimeError("the pool is attached to a different loop")
        while not self._idle:
            future = self.loop.create_future()
            self._waiting.append(future)
            await future
        connection = self._idle.popleft()
        try:
            yield connection
        finally:
            self._idle.append(connection)
            if self._waiting:
                self._waiting.popleft().set_result(None)


async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
    """`app` with a lifespan that fills the state, and writes down what happens."""
    if scope["type"] != "lifespan":
        await app(scope, receive, send)
        return
    await receive()
    first = next(starts) == 0
    write("startup")
    if os.environ.get("FAIL") == "later" and not first:
        await asyncio.sleep(0.2)
        raise ValueError("this loop cannot start")
    scope["state"].update(loop=id(asyncio.get_running_loop()), pool=Pool(2), shared=threading.Lock())
    await send({"type": "lifespan.startup.complete"})
    await receive()
    write("shutdown")
    await send({"type": "lifespan.shutdown.complete"})


@app.handler
async def where(scope: Scope, receive: Receive, send: Send) -> None:
    state = scope.get("state", {})
    told: dict[str, Any] = {
        "thread": threading.current_thread().name,
        "gil": sys._is_gil_enabled(),
        "own_state": state.get("loop") == id(asyncio.get_running_loop()),
        "lock": id(state.get("shared")),
    }
    await respond(send, json.dumps(told))


@app.handler
async def meet(scope: Scope, receive: Receive, send: Send) -> None:
    """Waits, in plain blocking code, for another request that does so."""
    barrier.wait(60)
    await respond(send, threading.current_thread().name)


@app.handler
async def query(scope: Scope, receive: Receive, send: Send) -> None:
    names = set()
    for _ in range(5):
        async with scope["state"]["pool"].acquire() as connection:
            names.add(await connection.query())
    await respond(send, ",".join(names))


@app.handler
async def doze(scope: Scope, receive: Receive, send: Send) -> None:
    note("doze", threading.current_thread().name)
    with open(os.environ["LIFESPAN_FILE"] + ".dozing", "a") as file:
        file.write(".")
    while not os.path.exists(os.environ["LIFESPAN_FILE"] + ".release"):
        await asyncio.sleep(0.01)
    await respond(send, "dozed")


@app.handler
async def nap(scope: Scope, receive: Receive, send: Send) -> None:
    """Blocks its thread until it is told to go on, so that what comes for it meanwhile is found all at once."""
    note("nap", threading.current_thread().name)
    until = time.monotonic() + 60
    while not os.path.exists(os.environ["LIFESPAN_FILE"] + ".awake"):
        assert time.monotonic() < until
        time.sleep(0.01)
    await respond(send, "awake")


@app.handler
async def meet_and_tell(scope: Scope, receive: Receive, send: Send) -> None:
    """As /meet, then with the body, the loop's own state, and a response that waits for its client."""
    barrier.wait(60)
    body = b""
    while True:
        event = await receive()
        body += event.get("body", b"")
        if not event.get("more_body"):
            break
    told = {
        "thread": threading.current_thread().name,
        "own_state": scope["state"]["loop"] == id(asyncio.get_running_loop()),
        "client": scope["client"],
        "body": len(body),
    }
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(told).encode().ljust(300), "more_body": True})
    for _ in range(40):
        await send({"type": "http.response.body", "body": b" " * 65536, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


@app.handler
async def hang(scope: Scope, receive: Receive, send: Send) -> None:
    note("hang", threading.current_thread().name)
    time.sleep(600)


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


@app.handler
async def stats(scope: Scope, receive: Receive, send: Send) -> None:
    import gc

    from pyre.loop_threads import ThreadServer

    (server,) = (item for item in gc.get_objects() if isinstance(item, ThreadServer))
    await respond(send, json.dumps(server.stats()))


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
