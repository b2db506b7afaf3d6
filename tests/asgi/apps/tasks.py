"""What an application may expect of asyncio inside a request. Each handler answers "ok" or raises."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import multiprocessing
import os
import sys
import threading
import time

from app_tools import Application, Event, Receive, Scope, Send, body, note, read, respond, start

app = Application()
ONE = contextvars.ContextVar("ONE", default="unset")
GATES: dict[str, asyncio.Event] = {}


def query(scope: Scope) -> str:
    text: str = scope["query_string"].decode()
    return text


@app.handler
async def first_step(scope: Scope, receive: Receive, send: Send) -> None:
    """Everything before the first await already is in a Task."""
    task = asyncio.current_task()
    assert isinstance(task, asyncio.Task), repr(task)
    loop = asyncio.get_running_loop()
    assert task in asyncio.all_tasks()
    assert task.get_loop() is loop
    assert not task.done()
    assert task.get_coro() is not None
    assert isinstance(task.get_name(), str)
    await respond(send, "ok")
    assert asyncio.current_task() is task


@app.handler
async def later_steps(scope: Scope, receive: Receive, send: Send) -> None:
    task = asyncio.current_task()
    for wait in (0, 0, 0.001, 0):
        await asyncio.sleep(wait)
        assert asyncio.current_task() is task
    await read(receive)
    assert asyncio.current_task() is task
    assert task in asyncio.all_tasks()
    await respond(send, "ok")


@app.handler
async def own_tasks(scope: Scope, receive: Receive, send: Send) -> None:
    """Two requests at the same time have two tasks, and no step of one runs with the other as current."""
    task = asyncio.current_task()
    assert task is not None
    tasks = RUNNING.setdefault(query(scope), [])
    tasks.append(task)
    while len(tasks) < 2:
        await asyncio.sleep(0.001)
        assert asyncio.current_task() is task
    assert tasks[0] is not tasks[1]
    assert task in asyncio.all_tasks()
    await respond(send, "ok")


RUNNING: dict[str, list[asyncio.Task[None]]] = {}


@app.handler
async def context(scope: Scope, receive: Receive, send: Send) -> None:
    """/context?value: what an earlier request, or one beside, set is not seen."""
    assert ONE.get() == "unset", ONE.get()
    ONE.set(query(scope))
    await asyncio.sleep(0.005)
    assert ONE.get() == query(scope)
    await read(receive)
    assert ONE.get() == query(scope)
    child = asyncio.create_task(read_context())
    assert await child == query(scope)
    await respond(send, "ok")
    assert ONE.get() == query(scope)


async def read_context() -> str:
    value = ONE.get()
    ONE.set("the child's")
    return value


@app.handler
async def tokens(scope: Scope, receive: Receive, send: Send) -> None:
    """reset() with a token from before an await needs the same context."""
    token = ONE.set("x")
    await read(receive)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await asyncio.sleep(0)
    ONE.reset(token)
    assert ONE.get() == "unset"
    await body(send, b"ok")


@app.handler
async def cancel_self(scope: Scope, receive: Receive, send: Send) -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel("a message")
    assert task.cancelling() == 1
    try:
        await asyncio.sleep(10)
    except asyncio.CancelledError as error:
        assert error.args == ("a message",)
        task.uncancel()
    else:
        raise AssertionError("not cancelled")
    await respond(send, "ok")


@app.handler
async def cancel_in_receive(scope: Scope, receive: Receive, send: Send) -> None:
    """A cancelled receive() loses nothing."""
    await read(receive)
    waiting = asyncio.ensure_future(receive())
    await asyncio.sleep(0.001)
    assert not waiting.done()
    waiting.cancel()
    try:
        await waiting
    except asyncio.CancelledError:
        pass
    await respond(send, "ok")


@app.handler
async def timeout_in_receive(scope: Scope, receive: Receive, send: Send) -> None:
    """asyncio.timeout around a receive() that waits; the rest of the body still comes."""
    first = await receive()
    assert first["more_body"]
    data: bytes = first["body"]
    timed_out = 0
    try:
        async with asyncio.timeout(0.02):
            await receive()
    except TimeoutError:
        timed_out += 1
    try:
        await asyncio.wait_for(receive(), 0.02)
    except TimeoutError:
        timed_out += 1
    assert timed_out == 2
    note(query(scope), "timed out")
    await respond(send, data + await read(receive))


@app.handler
async def timeout_cancels_work(scope: Scope, receive: Receive, send: Send) -> None:
    try:
        async with asyncio.timeout(0.01):
            await asyncio.sleep(10)
    except TimeoutError:
        await respond(send, "ok")


@app.handler
async def task_group(scope: Scope, receive: Receive, send: Send) -> None:
    results = []

    async def part(number: int) -> None:
        await asyncio.sleep(0.001 * number)
        results.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(5):
            group.create_task(part(number))
    assert results == [0, 1, 2, 3, 4]
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(10))
            raise ValueError("inside")
    except ExceptionGroup as errors:
        assert len(errors.exceptions) == 1
    await respond(send, "ok")


@app.handler
async def anyio_groups(scope: Scope, receive: Receive, send: Send) -> None:
    import anyio
    import anyio.to_thread
    import sniffio

    assert sniffio.current_async_library() == "asyncio"
    done = []

    async def part(number: int) -> None:
        assert sniffio.current_async_library() == "asyncio"
        await anyio.sleep(0.001)
        done.append(number)

    async with anyio.create_task_group() as group:
        group.start_soon(part, 1)
        group.start_soon(part, 2)
    assert sorted(done) == [1, 2]
    with anyio.move_on_after(0.01) as cancelled:
        await anyio.sleep(10)
    assert cancelled.cancelled_caught
    with anyio.move_on_after(0.01) as cancelled:
        await read(receive)
        await receive()
    assert cancelled.cancelled_caught
    with anyio.CancelScope() as outer:
        outer.cancel()
        await anyio.sleep(0)
        raise AssertionError("not cancelled")
    assert await anyio.to_thread.run_sync(lambda: ONE.get()) == "unset"
    assert anyio.get_current_task().id == id(asyncio.current_task())
    await respond(send, "ok")


@app.handler
async def awaitables(scope: Scope, receive: Receive, send: Send) -> None:
    """receive() and send() as coroutines: in tasks, futures, gather and wait."""
    first = await asyncio.create_task(receive())
    assert first["type"] == "http.request"
    await asyncio.gather(send({"type": "http.response.start", "status": 200, "headers": []}))
    done, pending = await asyncio.wait({asyncio.create_task(body(send, b"o", True))})
    assert not pending
    assert all(task.exception() is None for task in done)
    await asyncio.ensure_future(send({"type": "http.response.body", "body": b"k", "more_body": True}))
    await asyncio.shield(asyncio.ensure_future(send({"type": "http.response.body", "body": b"!", "more_body": True})))
    await asyncio.wait_for(send({"type": "http.response.body", "body": b""}), 5)


@app.handler
async def wait_for_either(scope: Scope, receive: Receive, send: Send) -> None:
    """The usual way to race a disconnect: asyncio.wait of two tasks, one of them receive()."""
    await read(receive)
    disconnect = asyncio.create_task(receive())  # type: ignore[arg-type]
    work = asyncio.create_task(asyncio.sleep(0.01, "work"))
    done, pending = await asyncio.wait({disconnect, work}, return_when=asyncio.FIRST_COMPLETED)
    assert done == {work}
    assert pending == {disconnect}
    await respond(send, "ok")
    assert (await disconnect)["type"] == "http.disconnect"
    note(query(scope), "disconnect")


@app.handler
async def bare_awaitables(scope: Scope, receive: Receive, send: Send) -> None:
    """What is not awaited does nothing, or is done, but does not break anything; what is awaited twice raises."""
    awaitable = receive()
    await awaitable
    try:
        await awaitable
    except RuntimeError:
        pass
    await respond(send, "ok")


@app.handler
async def executor(scope: Scope, receive: Receive, send: Send) -> None:
    loop = asyncio.get_running_loop()
    here = threading.get_ident()
    there = await loop.run_in_executor(None, threading.get_ident)
    assert here != there
    assert await asyncio.to_thread(lambda: time.sleep(0.01) or "slept") == "slept"
    future = asyncio.run_coroutine_threadsafe
    result = await asyncio.to_thread(lambda: future(asyncio.sleep(0, "from a thread"), loop).result(10))
    assert result == "from a thread"
    await respond(send, "ok")


@app.handler
async def callbacks(scope: Scope, receive: Receive, send: Send) -> None:
    """call_soon, call_later and call_at, in their order, and a loop that turns while the request waits."""
    loop = asyncio.get_running_loop()
    seen: list[str] = []
    finished = loop.create_future()
    loop.call_later(0.002, seen.append, "later")
    loop.call_at(loop.time() + 0.004, lambda: finished.set_result(None))
    loop.call_soon(seen.append, "soon")
    loop.call_soon_threadsafe(seen.append, "threadsafe")
    await finished
    assert seen == ["soon", "threadsafe", "later"], seen
    await respond(send, "ok")


@app.handler
async def subprocesses(scope: Scope, receive: Receive, send: Send) -> None:
    """Their pipes, their ends and the loop's own way to watch them work beside the server."""
    pipe = asyncio.subprocess.PIPE
    echo = "import sys; sys.stdout.write(sys.stdin.read()); sys.exit(3)"
    process = await asyncio.create_subprocess_exec(sys.executable, "-S", "-c", echo, stdin=pipe, stdout=pipe)
    output, _ = await process.communicate(b"echo " * 40_000)
    assert output == b"echo " * 40_000
    assert process.returncode == 3
    process = await asyncio.create_subprocess_exec(sys.executable, "-S", "-c", "input()", stdin=pipe)
    process.kill()
    assert await process.wait() != 0
    await respond(send, "ok")


@app.handler
async def process_pool(scope: Scope, receive: Receive, send: Send) -> None:
    """Children that import the server's main module anew do not serve."""
    loop = asyncio.get_running_loop()
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
        assert await loop.run_in_executor(pool, os.getpid) != os.getpid()
    await respond(send, "ok")


@app.handler
async def own_connections(scope: Scope, receive: Receive, send: Send) -> None:
    """asyncio's own servers and connections: one that is answered, one that is refused, one that is cancelled."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = await reader.read()
        writer.write(data[::-1])
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    async def ask(data: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(data)
        writer.write_eof()
        try:
            return await reader.read()
        finally:
            writer.close()

    large = bytes(range(256)) * 4000
    assert await asyncio.gather(*(ask(large) for _ in range(5))) == [large[::-1]] * 5
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(0.02):
            await reader.read()
    except TimeoutError:
        pass
    else:
        raise AssertionError("nothing was sent")
    writer.close()
    server.close()
    await server.wait_closed()
    try:
        await asyncio.open_connection("127.0.0.1", port)
    except ConnectionError:
        pass
    else:
        raise AssertionError("nobody listens")
    await respond(send, "ok")


@app.handler
async def own_datagrams(scope: Scope, receive: Receive, send: Send) -> None:
    loop = asyncio.get_running_loop()
    received: asyncio.Queue[bytes] = asyncio.Queue()

    class Protocol(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, address: object) -> None:
            received.put_nowait(data)

    target, _ = await loop.create_datagram_endpoint(Protocol, local_addr=("127.0.0.1", 0))
    address = target.get_extra_info("sockname")
    source, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=address)
    for number in range(10):
        source.sendto(b"%d" % number)
        assert await received.get() == b"%d" % number
    source.close()
    target.close()
    await respond(send, "ok")


@app.handler
async def child_tasks(scope: Scope, receive: Receive, send: Send) -> None:
    """A task that outlives its request is not disturbed by the request's end."""
    key = query(scope)

    async def outlive() -> None:
        await asyncio.sleep(0.05)
        assert asyncio.current_task() is task
        note(key, "outlived")

    task = asyncio.create_task(outlive())
    KEPT.append(task)
    await respond(send, "ok")


KEPT: list[asyncio.Task[None]] = []


@app.handler
async def child_answers(scope: Scope, receive: Receive, send: Send) -> None:
    """send() and receive() in a task of the application's."""
    event: Event = await asyncio.create_task(receive())  # type: ignore[arg-type]
    assert event["type"] == "http.request"
    await asyncio.create_task(respond(send, "ok"))


@app.handler
async def nested_steps(scope: Scope, receive: Receive, send: Send) -> None:
    """Many awaits that are done at once, and some that are not."""
    for _ in range(50):
        await asyncio.sleep(0)
    await start(send)
    for i in range(200):
        await body(send, b"x", True)
        if i % 20 == 0:
            await asyncio.sleep(0)
    await body(send)


@app.handler
async def block(scope: Scope, receive: Receive, send: Send) -> None:
    """Blocks the loop; what queued up meanwhile must all be served."""
    time.sleep(float(query(scope)))
    await respond(send, "ok")


@app.handler
async def reentrant(scope: Scope, receive: Receive, send: Send) -> None:
    """A request that waits for another request to the same server."""
    host, port = scope["server"]
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"GET /first_step HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert answer.endswith(b"ok"), answer
    await respond(send, "ok")


@app.handler
async def count_tasks(scope: Scope, receive: Receive, send: Send) -> None:
    await respond(send, str(len(asyncio.all_tasks())))
