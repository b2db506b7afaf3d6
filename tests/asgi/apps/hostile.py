"""An application that does what it should not: code of its own runs inside the server's calls, tasks outlive requests,
objects change under the server's hands."""

from __future__ import annotations

import asyncio
import gc
import http
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

from app_tools import Application, Receive, Scope, Send, body, note, read, respond, start

app = Application()


def current_request() -> Any:
    """The native coroutine of the request that runs."""
    task = asyncio.current_task()
    assert task is not None
    return task.get_coro()


@app.handler
async def fail_later(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.sleep(0.02)
    raise ValueError("later")


@app.handler
async def return_later(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.sleep(0.02)


@app.handler
async def listener_outlives(scope: Scope, receive: Receive, send: Send) -> None:
    """A task of the app's waits in receive() when the request ends."""
    await read(receive)

    async def listen() -> None:
        note("listener", "waits")
        event = await receive()
        note("listener", event["type"])

    task = asyncio.create_task(listen())
    await asyncio.sleep(0.01)
    await respond(send, "ok")
    await asyncio.sleep(0)
    KEPT.append(task)


@app.handler
async def listener_outlives_failure(scope: Scope, receive: Receive, send: Send) -> None:
    await read(receive)

    async def listen() -> None:
        event = await receive()
        note("failed_listener", event["type"])

    KEPT.append(asyncio.create_task(listen()))
    await asyncio.sleep(0.01)
    raise ValueError("the request fails while its listener waits")


KEPT: list[Any] = []


@app.handler
async def two_senders(scope: Scope, receive: Receive, send: Send) -> None:
    """One task waits for the client to read; another one ends the response."""
    await start(send)

    async def fill() -> None:
        for _ in range(100):
            await body(send, b"x" * 65536, more_body=True)
            if filler_waits.is_set():
                return

    filler_waits = asyncio.Event()
    filler = asyncio.create_task(fill())
    await asyncio.sleep(0.05)
    filler_waits.set()
    await body(send, b"the end")
    await filler
    note("two_senders", "done")


class Greedy:
    """An iterable that empties what it is part of while it is looked at."""

    def __init__(self, target: Any, items: list[Any]) -> None:
        self.target = target
        self.items = items

    def __iter__(self) -> Iterator[Any]:
        self.target.clear()
        gc.collect()
        return iter(self.items)


@app.handler
async def headers_vanish(scope: Scope, receive: Receive, send: Send) -> None:
    headers: list[Any] = []
    headers += [Greedy(headers, [b"x-a", b"b"])] + [(b"x-%d" % i, b"v" * 100) for i in range(50)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await body(send, b"ok")


@app.handler
async def event_vanishes(scope: Scope, receive: Receive, send: Send) -> None:
    event: dict[str, Any] = {"type": "http.response.start", "status": 200}
    event["headers"] = Greedy(event, [(b"x-a", b"b")])
    await send(event)
    data: dict[str, Any] = {"type": "http.response.body", "body": b"o" * 5000 + b"k"}

    class Liar:
        def __bool__(self) -> bool:
            data.clear()
            gc.collect()
            return False

    data["more_body"] = Liar()
    await send(data)


@app.handler
async def start_inside_start(scope: Scope, receive: Receive, send: Send) -> None:
    class Inner:
        def __iter__(self) -> Iterator[Any]:
            send(
                {
                    "type": "http.response.start",
                    "status": 201,
                    "headers": [(b"content-length", b"2"), (b"x-who", b"inner")],
                }
            )
            return iter([(b"content-length", b"200"), (b"x-who", b"outer")])

    try:
        await send({"type": "http.response.start", "status": 202, "headers": Inner()})
    except RuntimeError as error:
        note("start_inside_start", str(error))
    await body(send, b"ok")


@app.handler
async def close_inside_start(scope: Scope, receive: Receive, send: Send) -> None:
    """The native coroutine is closed while it runs, from inside a send()."""
    request = current_request()

    class Closing:
        def __iter__(self) -> Iterator[Any]:
            try:
                request.close()
            except ValueError as error:
                note("close_inside", str(error))
            return iter([(b"x-a", b"b")])

    await send({"type": "http.response.start", "status": 200, "headers": Closing()})
    await body(send, b"ok")


@app.handler
async def close_own_coroutine(scope: Scope, receive: Receive, send: Send) -> None:
    request = current_request()
    for misuse in (request.close, lambda: request.send(None), lambda: request.throw(KeyError("x"))):
        try:
            misuse()
            note("close_own", "nothing raised")
        except ValueError as error:
            note("close_own", str(error))
    await asyncio.sleep(0)
    await respond(send, "ok")


@app.handler
async def callback_equality(scope: Scope, receive: Receive, send: Send) -> None:
    """remove_done_callback() compares: __eq__ may change the callbacks under it."""
    await read(receive)
    awaitable = receive()
    waiter: Any = awaitable.send(None)  # type: ignore[attr-defined]
    waiter.add_done_callback(print)

    class Callback:
        def __eq__(self, other: object) -> bool:
            waiter.cancel()
            gc.collect()
            return True

        __hash__ = None  # type: ignore[assignment]

        def __call__(self, future: Any) -> None:
            pass

    for _ in range(20):
        waiter.add_done_callback(Callback())
    waiter.remove_done_callback(Callback())
    awaitable.close()  # type: ignore[attr-defined]
    await respond(send, "ok")


@app.handler
async def system_exit(scope: Scope, receive: Receive, send: Send) -> None:
    raise SystemExit(9)


@app.handler
async def system_exit_later(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.sleep(0.01)
    raise SystemExit(9)


@app.handler
async def forks(scope: Scope, receive: Receive, send: Send) -> None:
    child = os.fork()
    if child == 0:
        os._exit(7)
    _, status = os.waitpid(child, 0)
    await respond(send, str(os.waitstatus_to_exitcode(status)))


@app.handler
async def forks_and_answers(scope: Scope, receive: Receive, send: Send) -> None:
    """The child goes on as if nothing had happened, until its send() is through."""
    child = os.fork()
    if child == 0:
        try:
            await respond(send, "the child")
        finally:
            os._exit(7)
    _, status = os.waitpid(child, 0)
    await respond(send, str(os.waitstatus_to_exitcode(status)))


@app.handler
async def statuses(scope: Scope, receive: Receive, send: Send) -> None:
    kind = scope["query_string"].decode()
    value: Any = {
        "enum": http.HTTPStatus.CREATED,
        "subclass": type("Number", (int,), {"__int__": lambda self: 500, "__index__": lambda self: 500})(201),
        "true": True,
        "huge": 10**30,
        "negative": -200,
        "str": "200",
        "none": None,
        "float": 200.0,
    }[kind]
    try:
        await start(send, value)
    except (TypeError, ValueError) as error:
        await respond(send, type(error).__name__)
        return
    await body(send, b"taken")


class Text(str):
    pass


class Data(bytes):
    pass


@app.handler
async def subclasses(scope: Scope, receive: Receive, send: Send) -> None:
    await send(
        {
            Text("type"): Text("http.response.start"),
            "status": 200,
            "headers": ((Data(b"x-a"), Data(b"b")) for _ in (0,)),
        }
    )
    await body(send, Data(b"sub" * 3000))


@app.handler
async def bodies_that_change(scope: Scope, receive: Receive, send: Send) -> None:
    """What is sent is what the buffer held at the call."""
    await start(send)
    data = bytearray(b"a" * 100_000)
    await body(send, data, more_body=True)  # type: ignore[arg-type]
    data[:] = b"b" * 100_000
    await body(send, memoryview(data), more_body=True)  # type: ignore[arg-type]
    data[:] = b"c" * 100_000
    data.clear()
    await body(send)


@app.handler
async def odd_events(scope: Scope, receive: Receive, send: Send) -> None:
    events: list[Any] = [
        None, 3, "x", [], {}, {"type": None}, {"type": b"http.response.start"},
        {"type": "h\u00fcttp"}, {"type": "\ud800"},
        {"type": "http.response.start", "status": 200, "headers": 3},
        {"type": "http.response.start", "status": 200, "headers": [3]},
        {"type": "http.response.start", "status": 200, "headers": [(b"a",)]},
        {"type": "http.response.start", "status": 200, "headers": [("a", "b")]},
        {"type": "http.response.start", "status": 200, "headers": [(b"\xff", b"b")]},
        {"type": "http.response.start", "status": 200, "headers": [[b"x-a", b"b"], (b"x", b"\x00")]},
        {"type": "http.response.early_hint"},
        {"type": "http.response.early_hint", "links": 3},
        {"type": "http.response.trailers", "headers": []},
        {"type": "http.response.zerocopysend", "file": 0},
        {"type": "http.response.pathsend", "path": 3},
    ]  # fmt: skip
    for event in events:
        try:
            await send(event)
        except (TypeError, ValueError, RuntimeError, OSError) as error:
            note("odd_events", f"{type(error).__name__}: {error}")
        else:
            note("odd_events", f"accepted: {event!r}")
    await respond(send, "ok")


# ---- what is left over: the test looks at how much there is after thousands of each


@app.handler
async def plain(scope: Scope, receive: Receive, send: Send) -> None:
    await read(receive)
    await respond(send, "ok")


@app.handler
async def fails(scope: Scope, receive: Receive, send: Send) -> None:
    raise KeyError("at once")


@app.handler
async def fails_started(scope: Scope, receive: Receive, send: Send) -> None:
    await start(send)
    await body(send, b"x", more_body=True)
    await asyncio.sleep(0)
    raise KeyError("too late for a 500")


@app.handler
async def cancelled(scope: Scope, receive: Receive, send: Send) -> None:
    await read(receive)
    waiting = asyncio.ensure_future(receive())
    await asyncio.sleep(0)
    waiting.cancel()
    try:
        await waiting
    except asyncio.CancelledError:
        pass
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().call_soon(task.cancel)
    try:
        await receive()
    except asyncio.CancelledError:
        task.uncancel()
    await respond(send, "ok")


@app.handler
async def cancelled_for_good(scope: Scope, receive: Receive, send: Send) -> None:
    await read(receive)
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().call_soon(task.cancel)
    await receive()


@app.handler
async def generator(scope: Scope, receive: Receive, send: Send) -> None:
    async def pieces() -> Any:
        for number in range(5):
            yield b"%d" % number
            await asyncio.sleep(0)

    await start(send)
    async for piece in pieces():
        await body(send, piece, more_body=True)
    await body(send)


@app.handler
async def background(scope: Scope, receive: Receive, send: Send) -> None:
    await respond(send, "ok")
    await asyncio.sleep(0.001)


@app.handler
async def disconnects(scope: Scope, receive: Receive, send: Send) -> None:
    await read(receive)
    event = await receive()
    assert event["type"] == "http.disconnect"


@app.handler
async def forgets(scope: Scope, receive: Receive, send: Send) -> None:
    """Awaitables that nobody awaits, or that are given up half way."""
    receive()
    await read(receive)
    awaitable = receive()
    awaitable.send(None)  # type: ignore[attr-defined]
    del awaitable
    await respond(send, "ok")


@app.handler
async def census(scope: Scope, receive: Receive, send: Send) -> None:
    """Allocated blocks, after everything that is over has gone."""
    for _ in range(5):
        await asyncio.sleep(0.01)
        gc.collect()
    await respond(send, repr((sys.getallocatedblocks(), len(asyncio.all_tasks()), threading.active_count())))


@app.handler
async def long_background(scope: Scope, receive: Receive, send: Send) -> None:
    await respond(send, "ok")
    await asyncio.sleep(1)
