"""The engine itself, in a process of its own: what ends it, and what is true of the event loop that hosts it."""

from __future__ import annotations

import subprocess
import textwrap

import pytest
from processes import IS_WINDOWS
from serving import DETACHED, HANG_GUARD, NEVER, PYTHON, PYTHON_LOOPS, THREADED, hosting, skip_missing

PRELUDE = """
import asyncio, gc, os, socket, sys, threading, weakref
from pyre._core import Engine

errors = []

async def ask(port, path="/", head=True):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n".encode())
    try:
        return await asyncio.wait_for(reader.read(), 20)
    except ConnectionError as error:
        return type(error).__name__.encode()
    finally:
        writer.close()

def make(app, **options):
    options.setdefault("on_error", lambda error, info: errors.append(error))
    for name, value in HOSTING.items():
        options.setdefault(name, value)
    engine = Engine(app, asyncio.get_running_loop(), options)
    listener = socket.create_server(("127.0.0.1", 0))
    engine.listen(listener.fileno())
    return engine, listener, listener.getsockname()[1]

async def answer(send, data=b"ok"):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": data})
"""


def run(code: str, loop: str = "asyncio") -> str:
    """Runs `async def main()` of the code; its output."""
    skip_missing(loop, "pyre")
    if loop in THREADED:
        pytest.skip("the engines of several loops are made by the server: see test_free_threaded.py")
    event_loop, detached, environment = hosting(loop)
    options = {"io_threads": int(detached[1]), "io_wake": environment.get("PYRE_IO_WAKE", "auto")} if detached else {}
    module, _, factory = event_loop.partition(":")
    runner = f"import {module}\nwith asyncio.Runner(loop_factory={module}.{factory or 'new_event_loop'}) as runner:\n"
    runner += "    runner.run(main())\n"
    source = f"HOSTING = {options}\n" + PRELUDE + textwrap.dedent(code) + runner + "print('end')\n"
    done = subprocess.run(
        [PYTHON, "-X", "faulthandler", "-c", source], capture_output=True, text=True, timeout=HANG_GUARD * 2
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    for text in NEVER:
        assert text not in output, output
    assert done.stdout.endswith("end\n"), output
    return done.stdout


PLACES = {
    "the first step": "engine.close(); await answer(send)",
    "a later step": "await asyncio.sleep(0.01); engine.close(); await answer(send)",
    "an iteration of headers": "await start_with(Closing())",
    "a later iteration of headers": "await asyncio.sleep(0.01); await start_with(Closing())",
    "the report of an error": "raise ValueError('close')",
    "the report of a later error": "await asyncio.sleep(0.01); raise ValueError('close')",
    "a step after a receive": "await receive(); await waking(receive); engine.close(); await answer(send)",
    "abort": "engine.abort(); engine.close()",
    "the end of a context": "held.append(Closing()); held.clear(); await answer(send)",
}


@pytest.mark.parametrize("place", PLACES)
def test_the_engine_may_be_closed_from(place: str, loop: str) -> None:
    run(
        f"""
        async def main():
            held = []

            class Closing:
                def __iter__(self):
                    engine.close()
                    return iter([(b"x-a", b"b")])

                def __del__(self):
                    engine.close()

            async def waking(receive):
                asyncio.get_running_loop().call_soon(others[0].cancel)
                await receive()

            async def app(scope, receive, send):
                if scope["path"] == "/wait":
                    await receive()
                    try:
                        await receive()
                    finally:
                        held.append("told")
                async def start_with(headers):
                    await send({{"type": "http.response.start", "status": 200, "headers": headers}})
                    await send({{"type": "http.response.body", "body": b"ok"}})
                try:
                    {PLACES[place]}
                except RuntimeError as error:
                    assert "already completed" in str(error), error

            def on_error(error, info):
                if "close" in str(error):
                    engine.close()

            engine, listener, port = make(app, on_error=on_error)
            idle = engine.wait_idle()
            waiting = asyncio.create_task(ask(port, "/wait"))
            await asyncio.sleep(0.05)
            others = [asyncio.create_task(ask(port)) for _ in range(3)]
            if "receive" in "{place}":
                await asyncio.sleep(0.05)
            await asyncio.wait(others)
            engine.close()
            await waiting
            await asyncio.wait_for(idle, 20)
            assert engine.idle and engine.active_requests == 0
        """,
        loop,
    )


def test_an_engine_is_idle_when_its_last_background_task_ends(loop: str) -> None:
    run(
        """
        async def main():
            async def app(scope, receive, send):
                await answer(send)
                await asyncio.sleep(0.2)

            engine, listener, port = make(app)
            assert b"200 OK" in await ask(port)
            engine.stop_listening()
            engine.drain()
            await asyncio.wait_for(engine.wait_idle(), 20)
            engine.close()
        """,
        loop,
    )


@pytest.mark.parametrize("loop", PYTHON_LOOPS)  # its own task factory and _run_once
def test_a_task_factory_of_the_old_kind(loop: str) -> None:
    run(
        """
        async def main():
            loop = asyncio.get_running_loop()
            loop.set_task_factory(lambda loop, coroutine: asyncio.Task(coroutine, loop=loop))

            async def app(scope, receive, send):
                await answer(send)

            engine, listener, port = make(app)
            assert b"200 OK" in await asyncio.wait_for(ask(port), 20), errors
            engine.close()
        """,
        loop,
    )


def test_a_finalizer_may_use_the_event_loop_while_a_request_is_started(loop: str) -> None:
    """redis-py's connections close their transports when they are collected."""
    run(
        """
        async def main():
            loop = asyncio.get_running_loop()
            made, called = [], []

            class Client:
                def __init__(self):
                    self.cycle = self
                    made.append(None)

                def __del__(self):
                    loop.call_soon(called.append, None)

            async def app(scope, receive, send):
                Client()
                await answer(send)

            gc.set_threshold(3)  # now at nearly every allocation
            engine, listener, port = make(app)
            for _ in range(50):
                assert b"200 OK" in await ask(port), errors
            gc.set_threshold(700)
            gc.collect()
            await asyncio.sleep(0.01)
            assert len(called) == len(made) == 50, (len(called), len(made))
            engine.close()
        """,
        loop,
    )


def test_what_an_app_sets_in_its_context_lives_as_long_as_its_request(loop: str) -> None:
    run(
        """
        import contextvars
        variable = contextvars.ContextVar("variable")

        class Session:
            pass

        async def main():
            sessions = weakref.WeakSet()

            async def app(scope, receive, send):
                session = Session()
                sessions.add(session)
                variable.set(session)
                await answer(send)

            engine, listener, port = make(app)
            assert b"200 OK" in await ask(port)
            await asyncio.sleep(0.01)
            assert len(sessions) == 0
            engine.close()
        """,
        loop,
    )


def test_tasks_of_another_threads_loop_are_known_to_asyncio(loop: str) -> None:
    """Two loops make tasks at the same time: asyncio.all_tasks() must know each of them."""
    run(
        """
        async def main():
            missing = []
            stop = threading.Event()

            async def elsewhere():
                while not stop.is_set():
                    task = asyncio.create_task(asyncio.sleep(0))
                    if task not in asyncio.all_tasks():
                        missing.append(task)
                    await task

            sys.setswitchinterval(1e-6)
            thread = threading.Thread(target=lambda: asyncio.run(elsewhere()))

            async def app(scope, receive, send):
                await answer(send)

            engine, listener, port = make(app)
            thread.start()
            for _ in range(300):
                assert b"200 OK" in await ask(port)
            stop.set()
            thread.join()
            assert not missing, len(missing)
            engine.close()
        """,
        loop,
    )


@pytest.mark.parametrize("loop", PYTHON_LOOPS)  # its own task factory and _run_once
def test_a_nested_event_loop_inside_a_handler_is_served(loop: str) -> None:
    """What nest_asyncio does: the handler runs the event loop until another request to the same server is answered."""
    run(
        """
        async def main():
            loop = asyncio.get_running_loop()
            inner = []

            async def app(scope, receive, send):
                if scope["path"] == "/outer":
                    await asyncio.sleep(0)
                    task = asyncio.current_task()
                    asyncio.tasks._leave_task(loop, task)
                    nested = loop.create_task(ask(port, "/inner"))
                    while not nested.done():
                        loop._run_once()
                    asyncio.tasks._enter_task(loop, task)
                    inner.append(nested.result())
                else:
                    await asyncio.sleep(0.01)
                await answer(send)

            engine, listener, port = make(app)
            assert b"200 OK" in await asyncio.wait_for(ask(port, "/outer"), 20), errors
            assert b"200 OK" in inner[0]
            engine.close()
        """,
        loop,
    )


@pytest.mark.skipif(IS_WINDOWS, reason="Windows has no fork()")
def test_a_child_process_may_close_the_engine_it_inherited(loop: str) -> None:
    run(
        """
        async def main():
            async def app(scope, receive, send):
                await receive()
                await answer(send)
                await receive()

            engine, listener, port = make(app)
            waiting = asyncio.create_task(ask(port))
            await asyncio.sleep(0.05)
            child = os.fork()
            if child == 0:
                engine.abort()
                engine.close()
                os._exit(7)
            _, status = os.waitpid(child, 0)
            assert os.waitstatus_to_exitcode(status) == 7
            assert b"200 OK" in await waiting
            engine.close()
        """,
        loop,
    )


@pytest.mark.parametrize("end", ["never", "at exit"])
def test_a_process_may_end_without_closing_its_engine_in_time(loop: str, end: str) -> None:
    """The event loop is closed before the engine; the I/O thread serves until the very end, past the interpreter's."""
    run(
        f"""
        import atexit

        async def main():
            if "{end}" == "at exit":
                atexit.register(lambda: sys.kept[0].close())

            async def app(scope, receive, send):
                if scope["path"] == "/wait":
                    await asyncio.Event().wait()
                await answer(send)

            def client(port):
                try:
                    while True:
                        with socket.create_connection(("127.0.0.1", port)) as sock:
                            for _ in range(50):
                                sock.sendall(b"POST / HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 3\\r\\n\\r\\nabc")
                                sock.recv(1000)
                except OSError:
                    pass

            engine, listener, port = make(app)
            sys.kept = engine, listener
            assert b"200 OK" in await ask(port)
            task = asyncio.create_task(ask(port, "/wait"))
            for _ in range(2):
                threading.Thread(target=client, args=(port,), daemon=True).start()
            await asyncio.sleep(0.1)
            task.cancel()
        """,
        loop,
    )


@pytest.mark.parametrize("loop", DETACHED)
def test_what_the_io_thread_refuses_while_python_hangs_is_counted(loop: str) -> None:
    run(
        """
        async def main():
            import struct
            RESET = struct.pack("ii", 1, 0)  # on close; a FIN alone would leave the connection waiting for its answer
            refused = threading.Event()

            def come_and_go():
                for _ in range(5000):
                    with socket.create_connection(("127.0.0.1", port)) as client:
                        client.settimeout(0.005)
                        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                        client.sendall(b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
                        try:
                            if client.recv(100).startswith(b"HTTP/1.1 503"):
                                return refused.set()
                        except TimeoutError:
                            pass

            async def app(scope, receive, send):
                await answer(send)

            engine, listener, port = make(app, limit_connections=10)
            assert engine.stats()["refused_surplus"] == 0
            threading.Thread(target=come_and_go, daemon=True).start()
            assert refused.wait(30)  # and the event loop with it
            assert engine.stats()["refused_surplus"] > 0
            async with asyncio.timeout(20):  # what has piled up is let go of first
                while b"200 OK" not in await ask(port):
                    pass
            engine.close()
        """,
        loop,
    )


def test_a_loop_that_is_behind_may_have_heads_parsed_elsewhere(loop: str) -> None:
    """An experiment that nobody has unless it is asked for: every request is answered, and its counters are there."""
    if loop not in DETACHED:
        pytest.skip("only where the I/O has threads of its own")
    run(
        """
        async def main():
            async def app(scope, receive, send):
                await answer(send, scope["path"].encode())

            engine, listener, port = make(app, overflow=True)
            streams = [await asyncio.open_connection("127.0.0.1", port) for _ in range(100)]
            for round in range(3):
                for i, (reader, writer) in enumerate(streams):
                    writer.write(b"GET /%d HTTP/1.1\\r\\nHost: x\\r\\nX: %s\\r\\n\\r\\n" % (i, b"x" * 8000))
                for i, (reader, writer) in enumerate(streams):
                    head = await asyncio.wait_for(reader.readuntil(b"\\r\\n\\r\\n"), 20)
                    body = await asyncio.wait_for(reader.read(len(b"/%d" % i)), 20)
                    assert head.startswith(b"HTTP/1.1 200") and body == b"/%d" % i, (head, body)
            stats = engine.stats()
            names = ["ticks_behind", "inlined", "offered", "stolen", "repeated", "taken_back"]
            counts = {name: stats["parse_" + name] for name in names}
            assert counts["offered"] == counts["stolen"] + counts["repeated"] + counts["taken_back"], counts
            assert all(stats["loops"][0]["parse_" + name] <= counts[name] for name in names)
            for reader, writer in streams:
                writer.close()
            engine.drain()
            await asyncio.wait_for(engine.wait_idle(), 20)
            engine.close()
        """,
        loop,
    )
