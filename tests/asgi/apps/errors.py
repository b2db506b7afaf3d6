"""Applications that do wrong. Those under /caught note the error that they got."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from app_tools import Application, Event, Receive, Scope, Send, body, note, respond, start

app = Application()


def query(scope: Scope) -> str:
    text: str = scope["query_string"].decode()
    return text


@app.handler
async def before(scope: Scope, receive: Receive, send: Send) -> None:
    raise RuntimeError("before the start")


@app.handler
async def later(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.sleep(0.01)
    raise RuntimeError("before the start, later")


@app.handler
async def after_start(scope: Scope, receive: Receive, send: Send) -> None:
    await start(send, headers=[(b"content-length", b"10")])
    raise RuntimeError("after the start")


@app.handler
async def after_some(scope: Scope, receive: Receive, send: Send) -> None:
    await start(send)
    await body(send, b"some", True)
    await asyncio.sleep(0.01)
    raise RuntimeError("after some of the body")


@app.handler
async def after_all(scope: Scope, receive: Receive, send: Send) -> None:
    await respond(send, "complete")
    raise RuntimeError("after the response")


@app.handler
async def returns_early(scope: Scope, receive: Receive, send: Send) -> None:
    """/returns_early?nothing, start or some"""
    if query(scope) != "nothing":
        await start(send)
    if query(scope) == "some":
        await body(send, b"some", True)


@app.handler
async def returns_a_value(scope: Scope, receive: Receive, send: Send) -> Any:
    await respond(send, "complete")
    return "a value"


@app.handler
async def base_exception(scope: Scope, receive: Receive, send: Send) -> None:
    class Odd(BaseException):
        pass

    raise Odd("not an Exception")


@app.handler
async def cancels_itself(scope: Scope, receive: Receive, send: Send) -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(1)


@app.handler
async def leaves_body(scope: Scope, receive: Receive, send: Send) -> None:
    """Fails with a request body unread."""
    raise RuntimeError("with a body unread")


# ---- misuse: each gets a send() and does one wrong thing

Misuse = Callable[[Send], Awaitable[None]]
MISUSE: dict[str, Misuse] = {}


def misuse(function: Misuse) -> Misuse:
    MISUSE[function.__name__] = function
    return function


@app.handler
async def caught(scope: Scope, receive: Receive, send: Send) -> None:
    """/caught?name: notes the type and the text of the error, then goes on if that is possible."""
    name, _, key = query(scope).partition(",")
    started: list[Event] = []

    async def watched(event: Any) -> None:
        await send(event)
        if isinstance(event, dict):
            started.append(event)

    try:
        await MISUSE[name](watched)
        note(key, ("no error", ""))
    except Exception as error:
        note(key, (type(error).__name__, str(error)))
        if started:
            raise
        # Nothing of it reached the wire, so an answer is still possible.
        await respond(send, "recovered")


def one(event: Any) -> Misuse:
    async def send_it(send: Send) -> None:
        await send(event)

    return send_it


def started_with(headers: Any, status: Any = 200) -> Misuse:
    return one({"type": "http.response.start", "status": status, "headers": headers})


MISUSE |= {
    "body_before_start": one({"type": "http.response.body", "body": b"x"}),
    "unknown_type": one({"type": "http.response.nonsense"}),
    "websocket_type": one({"type": "websocket.accept"}),
    "no_type": one({"status": 200}),
    "type_is_no_text": one({"type": b"http.response.start", "status": 200}),
    "event_is_no_dict": one("http.response.start"),
    "event_is_none": one(None),
    "no_status": one({"type": "http.response.start", "headers": []}),
    "status_is_text": started_with([], "200"),
    "status_is_a_float": started_with([], 200.0),
    "status_is_none": started_with([], None),
    "status_is_too_small": started_with([], 99),
    "status_is_too_large": started_with([], 1000),
    "status_is_huge": started_with([], 1 << 70),
    "status_is_negative": started_with([], -1),
    "status_is_informational": started_with([], 100),
    "status_is_switching": started_with([], 101),
    "headers_are_a_number": started_with(5),
    "header_is_a_number": started_with([5]),
    "header_is_a_triple": started_with([(b"a", b"b", b"c")]),
    "header_is_alone": started_with([(b"a",)]),
    "name_is_text": started_with([("x-a", b"b")]),
    "value_is_text": started_with([(b"x-a", "b")]),
    "value_is_none": started_with([(b"x-a", None)]),
    "name_is_empty": started_with([(b"", b"b")]),
    "name_with_space": started_with([(b"x a", b"b")]),
    "name_with_colon": started_with([(b"x:a", b"b")]),
    "name_with_crlf": started_with([(b"x-a\r\nx-b", b"c")]),
    "name_with_nul": started_with([(b"x\0a", b"b")]),
    "name_not_ascii": started_with([(b"x\xe9", b"b")]),
    "value_with_crlf": started_with([(b"x-a", b"b\r\nx-injected: 1")]),
    "value_with_cr": started_with([(b"x-a", b"b\rx-injected: 1")]),
    "value_with_lf": started_with([(b"x-a", b"b\nx-injected: 1")]),
    "value_with_nul": started_with([(b"x-a", b"b\0c")]),
    "value_with_escape": started_with([(b"x-a", b"b\x1b[31m")]),
    "length_is_no_number": started_with([(b"content-length", b"ten")]),
    "length_is_negative": started_with([(b"content-length", b"-1")]),
    "length_with_plus": started_with([(b"content-length", b"+1")]),
    "length_is_a_list": started_with([(b"content-length", b"1, 1")]),
    "length_is_huge": started_with([(b"content-length", b"99999999999999999999")]),
    "length_twice": started_with([(b"content-length", b"1"), (b"content-length", b"1")]),
    "length_twice_differing": started_with([(b"content-length", b"1"), (b"Content-Length", b"2")]),
    "coding_is_unknown": started_with([(b"transfer-encoding", b"gzip")]),
    "coding_is_a_list": started_with([(b"transfer-encoding", b"gzip, chunked")]),
}


@misuse
async def two_starts(send: Send) -> None:
    await start(send, 200)
    await start(send, 201)


@misuse
async def start_after_body(send: Send) -> None:
    await start(send)
    await body(send, b"x", True)
    await start(send)


@misuse
async def body_after_end(send: Send) -> None:
    await respond(send, "complete")
    await body(send, b"more")


@misuse
async def start_after_end(send: Send) -> None:
    await respond(send, "complete")
    await start(send)


@misuse
async def too_long(send: Send) -> None:
    await start(send, headers=[(b"content-length", b"5")])
    await body(send, b"12345", True)
    await body(send, b"6")


@misuse
async def too_long_at_once(send: Send) -> None:
    await start(send, headers=[(b"content-length", b"5")])
    await body(send, b"123456")


@misuse
async def too_short(send: Send) -> None:
    await start(send, headers=[(b"content-length", b"5")])
    await body(send, b"1234")


@misuse
async def body_is_text(send: Send) -> None:
    await start(send)
    await body(send, b"some", True)
    await send({"type": "http.response.body", "body": "text"})


@misuse
async def body_is_a_number(send: Send) -> None:
    await start(send)
    await body(send, b"some", True)
    await send({"type": "http.response.body", "body": 5})


@misuse
async def body_is_none(send: Send) -> None:
    await start(send)
    await body(send, b"some", True)
    await send({"type": "http.response.body", "body": None})


@app.handler
async def swallow(scope: Scope, receive: Receive, send: Send) -> None:
    """Misuse whose error is swallowed, and a correct end: the stream must be right all the same."""
    await start(send)
    await body(send, b"right ", True)
    for event in (
        {"type": "http.response.start", "status": 500},
        {"type": "http.response.body", "body": "text"},
        {"type": "nonsense"},
        None,
    ):
        try:
            await send(event)  # type: ignore[arg-type]
        except Exception:
            pass
    await body(send, b"answer")


@app.handler
async def from_a_thread(scope: Scope, receive: Receive, send: Send) -> None:
    """Called in another thread, but run on the loop: run_coroutine_threadsafe(receive(), loop), as a2wsgi does."""
    loop = asyncio.get_running_loop()

    def call() -> bytes:
        data = b""
        more = True
        while more:
            event = asyncio.run_coroutine_threadsafe(receive(), loop).result(10)  # type: ignore[arg-type]
            data += event["body"]
            more = event["more_body"]
        return data

    await respond(send, await asyncio.to_thread(call))


@app.handler
async def foreign_thread(scope: Scope, receive: Receive, send: Send) -> None:
    """send() and receive() called in another thread."""
    errors = []

    def call() -> None:
        for function in (lambda: send({"type": "http.response.start", "status": 200}), receive):
            try:
                awaitable = function()
                try:
                    awaitable.send(None)  # type: ignore[attr-defined]
                finally:
                    getattr(awaitable, "close", lambda: None)()
                errors.append("no error")
            except StopIteration:
                errors.append("no error")
            except Exception as error:
                errors.append(type(error).__name__)

    await asyncio.get_running_loop().run_in_executor(None, call)
    await respond(send, repr(errors))
