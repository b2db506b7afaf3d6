"""Flow control and disconnects."""

from __future__ import annotations

import asyncio

from app_tools import Application, Event, Receive, Scope, Send, body, note, read, respond, start

app = Application()
GATES: dict[str, asyncio.Event] = {}


def query(scope: Scope) -> str:
    text: str = scope["query_string"].decode()
    return text


@app.handler
async def go(scope: Scope, receive: Receive, send: Send) -> None:
    GATES.setdefault(query(scope), asyncio.Event()).set()
    await respond(send, "gone")


@app.handler
async def flood(scope: Scope, receive: Receive, send: Send) -> None:
    """/flood?key,pieces,size: notes how many pieces were taken, when it ends or every second."""
    key, count, size = query(scope).split(",")
    piece = b"x" * int(size)
    taken = 0

    async def report() -> None:
        while True:
            await asyncio.sleep(0.1)
            note(key, taken)

    reporter = asyncio.create_task(report())
    try:
        await start(send, headers=[(b"content-length", str(int(count) * int(size)).encode())])
        for i in range(int(count)):
            await body(send, piece, i + 1 < int(count))
            taken += 1
        note(key, "all")
    except OSError as error:
        note(key, type(error).__name__)
        raise
    finally:
        reporter.cancel()


@app.handler
async def until_disconnect(scope: Scope, receive: Receive, send: Send) -> None:
    """Notes each event's type, answers after http.disconnect."""
    key = query(scope)
    event: Event = {"type": ""}
    while event["type"] != "http.disconnect":
        event = await receive()
        note(key, event["type"])
    note(key, (await receive())["type"])
    try:
        await respond(send, "still here")
        note(key, "sent")
    except OSError as error:
        note(key, type(error).__name__)


@app.handler
async def answer_then_receive(scope: Scope, receive: Receive, send: Send) -> None:
    """After the response is complete receive() gives http.disconnect, again and again."""
    key = query(scope)
    await read(receive)
    await respond(send, "answered")
    for _ in range(3):
        note(key, (await receive())["type"])


@app.handler
async def receive_twice(scope: Scope, receive: Receive, send: Send) -> None:
    """receive() after the whole body waits: Django and Starlette listen for the disconnect so."""
    await read(receive)
    waiting = asyncio.ensure_future(receive())
    await asyncio.sleep(0.1)
    early = waiting.done()
    await respond(send, f"{early}")
    note(query(scope), (await waiting)["type"])


@app.handler
async def sleep_then_receive(scope: Scope, receive: Receive, send: Send) -> None:
    """The client vanishes while the application does something else."""
    key = query(scope)
    await read(receive)
    gate = GATES.setdefault(key, asyncio.Event())
    note(key, "sleeping")
    await gate.wait()
    note(key, (await receive())["type"])
    await respond(send, "late")


@app.handler
async def send_to_the_dead(scope: Scope, receive: Receive, send: Send) -> None:
    """Sends until that raises; notes what, and that it raises again."""
    key = query(scope)
    await start(send)
    note(key, "started")
    for _ in range(2):
        try:
            while True:
                await body(send, b"x" * 1000, True)
                await asyncio.sleep(0.01)
        except OSError as error:
            note(key, isinstance(error, OSError))
    note(key, (await receive())["type"])


@app.handler
async def ticker(scope: Scope, receive: Receive, send: Send) -> None:
    """A stream without an end, as server-sent events are; notes how it ended."""
    key = query(scope)
    await start(send, headers=[(b"content-type", b"text/event-stream")])
    count = 0
    try:
        while True:
            await body(send, b"data: %d\n\n" % count, True)
            count += 1
            await asyncio.sleep(0.02)
    except OSError:
        note(key, "OSError")
    except asyncio.CancelledError:
        note(key, "CancelledError")
        raise


@app.handler
async def beside(scope: Scope, receive: Receive, send: Send) -> None:
    """Starlette's pattern: one task streams, one waits for the disconnect and cancels it."""
    key = query(scope)
    await read(receive)

    async def stream() -> None:
        await start(send)
        while True:
            await body(send, b"tick ", True)
            await asyncio.sleep(0.02)

    async def listen() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    tasks = [asyncio.create_task(stream()), asyncio.create_task(listen())]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    note(key, [type(result).__name__ for result in results])
