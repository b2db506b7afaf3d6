from __future__ import annotations

import asyncio
import contextvars
import http.client
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from fake_core import Engine
from pyre.config import Config
from pyre.loops import loop_factory
from pyre.main import run
from pyre.server import Server
from records import Records

HANG_GUARD = 20


async def hello(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        raise ValueError("no lifespan")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


class Recording:
    """An application with a lifespan that writes down what happens; `/wait` is answered after `release` was set."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.waiting = threading.Event()
        self.release = threading.Event()
        self.stop = threading.Event()
        self.stop.set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            self.events.append("startup")
            scope["state"]["made"] = "at startup"
            await send({"type": "lifespan.startup.complete"})
            await receive()
            while not self.stop.is_set():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            self.events.append("shutdown")
            await send({"type": "lifespan.shutdown.complete"})
            return
        if scope["path"] == "/wait":
            self.waiting.set()
            try:
                while not self.release.is_set():  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                self.events.append("cancelled")
                raise
        self.events.append("request")
        await hello(scope, receive, send)


class Running:
    """A server in a thread of its own."""

    def __init__(self, app: Any, **options: Any) -> None:
        options = {"host": "127.0.0.1", "port": 0, "access_log": False, **options}
        self.server = Server(Config(app, **options))
        self.exit_code: Any = None
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            self.server.run()
        except SystemExit as error:
            self.exit_code = error.code

    def __enter__(self) -> Self:
        self.thread.start()
        until(lambda: self.server.started or not self.thread.is_alive())
        return self

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.join()

    def join(self) -> None:
        self.thread.join(HANG_GUARD)
        assert not self.thread.is_alive(), "the server does not end"

    @property
    def port(self) -> int:
        return int(self.server.listeners[0].sock.getsockname()[1])

    def get(self, path: str = "/") -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=HANG_GUARD)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


def until(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(HANG_GUARD * 100):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("it never happened")


LOOPS = ["asyncio", "none", "auto", "asyncio:new_event_loop"]


@pytest.mark.parametrize("loop", LOOPS)
def test_serves_off_the_main_thread_until_told_to_end(loop: str) -> None:
    app = Recording()
    with Running(app, loop=loop) as running:
        assert running.server.started
        assert running.get() == (200, b"hello")
    assert app.events == ["startup", "request", "shutdown"]
    assert Engine.made[-1].calls == ["stop_listening", "drain", "close"]
    assert running.exit_code is None


def test_serves_on_a_loop_of_the_callers() -> None:
    async def main() -> None:
        server = Server(Config(hello, port=0, access_log=False))
        task = asyncio.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        server.should_exit = True
        await asyncio.wait_for(task, HANG_GUARD)

    asyncio.run(main())


def test_serves_sockets_of_the_callers_and_leaves_them_open() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))

        async def main() -> None:
            server = Server(Config(hello, access_log=False))
            task = asyncio.create_task(server.serve(sockets=[sock]))
            while not server.started:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            reader, writer = await asyncio.open_connection(*sock.getsockname())
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            assert (await reader.read()).endswith(b"hello")
            writer.close()
            server.should_exit = True
            await asyncio.wait_for(task, HANG_GUARD)

        asyncio.run(main())
        assert sock.getsockname()[1] > 0


def test_should_exit_before_the_start_ends_after_it() -> None:
    app = Recording()
    server = Server(Config(app, port=0))
    server.should_exit = True
    server.run()
    assert app.events == ["startup", "shutdown"]


def test_the_state_of_the_lifespan_reaches_the_engine() -> None:
    with Running(Recording()):
        assert Engine.made[-1].options["state"] == {"made": "at startup"}


VARIABLE = contextvars.ContextVar("VARIABLE", default="unset")


@pytest.mark.parametrize(("reset", "seen"), [(False, b"outer"), (True, b"unset")])
def test_reset_contextvars(reset: bool, seen: bytes) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": VARIABLE.get().encode()})

    async def main() -> bytes:
        VARIABLE.set("outer")
        server = Server(Config(app, port=0, lifespan="off", access_log=False, reset_contextvars=reset))
        task = asyncio.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.listeners[0].sock.getsockname()[1])
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        answer = await reader.read()
        writer.close()
        server.should_exit = True
        await asyncio.wait_for(task, HANG_GUARD)
        return answer.rsplit(b"\r\n", 1)[1]

    assert asyncio.run(main()) == seen


def test_running_requests_are_waited_for() -> None:
    app = Recording()
    with Running(app) as running:
        port, results = running.port, []
        client = threading.Thread(target=lambda: results.append(_get(port, "/wait")))
        client.start()
        assert app.waiting.wait(HANG_GUARD)
        running.server.should_exit = True
        until(lambda: "drain" in Engine.made[-1].calls)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)
        app.release.set()
        client.join(HANG_GUARD)
        running.join()
    assert results == [(200, b"hello")]
    assert app.events == ["startup", "request", "shutdown"]


def _get(port: int, path: str) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=HANG_GUARD)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException) as error:
        return error
    finally:
        connection.close()


@pytest.mark.parametrize("why", ["timeout", "force_exit"])
def test_what_does_not_end_is_cut_and_the_lifespan_still_ends(why: str, records: Records) -> None:
    app = Recording()
    with Running(app, timeout_graceful_shutdown=0.05 if why == "timeout" else None) as running:
        client = threading.Thread(target=_get, args=(running.port, "/wait"))
        client.start()
        assert app.waiting.wait(HANG_GUARD)
        running.server.should_exit = True
        if why == "force_exit":
            until(lambda: "drain" in Engine.made[-1].calls)
            running.server.force_exit = True
        running.join()
        client.join(HANG_GUARD)
    assert app.events == ["startup", "cancelled", "shutdown"]
    assert Engine.made[-1].calls == ["stop_listening", "drain", "abort", "close"]
    assert ("the graceful shutdown took too long" in records.text) == (why == "timeout")


def test_max_requests_end_the_server(records: Records) -> None:
    with Running(hello, limit_max_requests=2) as running:
        assert running.get()[0] == 200
        assert running.thread.is_alive()
        assert running.get()[0] == 200
        running.join()
    assert "Maximum request limit" in records.text


def test_jitter_is_added_to_max_requests() -> None:
    limits = set()
    for _ in range(20):
        with Running(hello, limit_max_requests=100, limit_max_requests_jitter=50):
            limits.add(Engine.made[-1].options["limit_max_requests"])
    assert len(limits) > 1
    assert all(100 <= limit <= 150 for limit in limits)


def test_an_exception_of_the_application_is_logged(records: Records) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise KeyError("nowhere")

    with Running(app, lifespan="off") as running:
        assert running.get("/path")[0] == 500
    [record] = [record for record in records.records if record.exc_info]
    assert record.getMessage() == "Exception in ASGI application\n"
    assert isinstance(record.exc_info[1], KeyError)  # type: ignore[index]
    assert record.__dict__["path"] == "/path"


def test_options_reach_the_engine() -> None:
    options = {
        "root_path": "/api",
        "headers": [("x-a", "1")],
        "server_header": True,
        "timeout_keep_alive": 0,
        "limit_concurrency": 7,
        "forwarded_allow_ips": ["10.0.0.1", "10.0.0.2"],
    }
    with Running(hello, **options):
        made = Engine.made[-1].options
        assert made["root_path"] == "/api"
        assert made["default_headers"] == [("x-a", "1")]
        assert made["server_header"] == "pyre"
        assert 0 < made["timeout_keep_alive"] < 0.01
        assert made["limit_concurrency"] == 7
        assert made["limit_max_requests"] == 0
        assert made["forwarded_allow_ips"] == "10.0.0.1,10.0.0.2"
        assert made["access_log_fd"] == -1


def test_a_server_header_of_the_users_replaces_ours() -> None:
    options = Config(hello, server_header=True, headers=[("Server", "mine"), ("Date", "today")]).engine_options()
    assert options["server_header"] == ""
    assert options["date_header"] is False


# ---- what keeps it from starting


def test_a_busy_port_ends_with_3_before_the_application_starts(records: Records) -> None:
    app = Recording()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(SystemExit) as caught:
            run(app, port=other.getsockname()[1])
    assert caught.value.code == 3
    assert app.events == []
    assert "is in use already" in records.text


def test_a_failed_startup_ends_with_3() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no"})

    with pytest.raises(SystemExit) as caught:
        run(app, port=0)
    assert caught.value.code == 3


def test_an_engine_that_refuses_its_options_ends_with_3_after_the_lifespan(
    monkeypatch: pytest.MonkeyPatch, records: Records
) -> None:
    def refuse(self: Any, *args: Any) -> None:
        raise ValueError("'10.0.0.300' is no address")

    monkeypatch.setattr(Engine, "__init__", refuse)
    app = Recording()
    with pytest.raises(SystemExit) as caught:
        run(app, port=0)
    assert caught.value.code == 3
    assert app.events == ["startup", "shutdown"]
    assert "10.0.0.300" in records.text


def test_an_application_that_cannot_be_loaded_ends_with_4(app_dir: Path, records: Records) -> None:
    (app_dir / "broken_g.py").write_text("def broken(:\n")
    with pytest.raises(SystemExit) as caught:
        run("broken_g:app", app_dir="")
    assert caught.value.code == 4
    [record] = [record for record in records.records if record.exc_info]
    assert isinstance(record.exc_info[1], SyntaxError)  # type: ignore[index]


def test_the_traceback_of_a_broken_module_begins_in_it(app_dir: Path, records: Records) -> None:
    import traceback

    (app_dir / "broken_h.py").write_text("def f():\n    1 / 0\nf()\n")
    with pytest.raises(SystemExit):
        run("broken_h:app", app_dir="")
    [record] = [record for record in records.records if record.exc_info]
    frames = traceback.extract_tb(record.exc_info[2])  # type: ignore[index]
    assert [Path(frame.filename).name for frame in frames] == ["broken_h.py", "broken_h.py"]


def test_an_unknown_loop_ends_with_2(records: Records) -> None:
    with pytest.raises(SystemExit) as caught:
        run(hello, loop="no_such_loop", port=0)
    assert caught.value.code == 2
    assert "no loop 'no_such_loop'" in records.text


def test_reload_needs_a_string() -> None:
    with pytest.raises(SystemExit) as caught:
        run(hello, reload=True)
    assert caught.value.code == 3


def test_loops_by_name() -> None:
    assert loop_factory("none") is None
    assert loop_factory("asyncio") is asyncio.SelectorEventLoop
    uvloop = pytest.importorskip("uvloop")
    assert loop_factory("auto") is uvloop.new_event_loop
    assert loop_factory("uvloop") is uvloop.new_event_loop


def test_auto_loop_without_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "uvloop", None)
    assert loop_factory("auto") is asyncio.SelectorEventLoop


# ---- signals, on the main thread


@pytest.fixture
def in_time() -> Iterator[None]:
    """SIGALRM ends a test that hangs on the main thread."""
    signal.alarm(HANG_GUARD)
    yield
    signal.alarm(0)


def signal_when(condition: Callable[[], bool], *numbers: int) -> threading.Thread:
    def send() -> None:
        for number in numbers:
            until(condition)
            os.kill(os.getpid(), number)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    return thread


@pytest.mark.usefixtures("in_time")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("loop", ["asyncio", "auto"])
def test_a_signal_ends_run_with_the_lifespan_and_puts_the_handlers_back(number: int, loop: str) -> None:
    app = Recording()
    before = signal.getsignal(number)
    signal_when(lambda: bool(Engine.made), number)
    run(app, port=0, loop=loop, access_log=False)
    assert app.events == ["startup", "shutdown"]
    assert signal.getsignal(number) is before


@pytest.mark.usefixtures("in_time")
def test_serve_raises_the_signal_again_for_those_who_had_a_handler() -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        server = Server(Config(hello, port=0, access_log=False))
        signal_when(lambda: server.started, signal.SIGTERM)
        server.run()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == [signal.SIGTERM]


@pytest.mark.usefixtures("in_time")
def test_a_second_signal_cuts_what_runs_and_the_lifespan_still_ends() -> None:
    app = Recording()
    server = Server(Config(app, port=0, access_log=False, timeout_graceful_shutdown=None))
    server.reraise_signals = False

    def act() -> None:
        until(lambda: server.started)
        client = threading.Thread(target=_get, args=(server.listeners[0].sock.getsockname()[1], "/wait"), daemon=True)
        client.start()
        app.waiting.wait(HANG_GUARD)
        os.kill(os.getpid(), signal.SIGTERM)
        until(lambda: "drain" in Engine.made[-1].calls)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=act, daemon=True).start()
    server.run()
    assert app.events == ["startup", "cancelled", "shutdown"]


@pytest.mark.usefixtures("in_time")
def test_a_third_signal_gives_up_on_the_lifespan(records: Records) -> None:
    app = Recording()
    app.stop.clear()
    server = Server(Config(app, port=0, access_log=False))
    server.reraise_signals = False

    def act() -> None:
        until(lambda: server.started)
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGINT)
            threading.Event().wait(0.2)

    threading.Thread(target=act, daemon=True).start()
    server.run()
    assert app.events == ["startup"]
    assert "Giving up on the application's shutdown." in records.text


@pytest.mark.usefixtures("in_time")
def test_two_signals_end_a_startup_that_hangs() -> None:
    begun = threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        begun.set()
        await asyncio.Event().wait()

    def act() -> None:
        begun.wait(HANG_GUARD)
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            threading.Event().wait(0.2)

    threading.Thread(target=act, daemon=True).start()
    with pytest.raises(SystemExit) as caught:
        run(app, port=0)
    assert caught.value.code == 3


def test_notify_callback_is_called() -> None:
    called = threading.Event()

    async def notify() -> None:
        called.set()

    with Running(hello, callback_notify=notify):
        assert called.wait(HANG_GUARD)


def test_env_file_is_loaded_before_the_application(app_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("dotenv")
    monkeypatch.setenv("PYRE_TEST_FROM_FILE", "x")
    monkeypatch.delenv("PYRE_TEST_FROM_FILE")
    (app_dir / ".env").write_text("PYRE_TEST_FROM_FILE=yes\n")
    (app_dir / "served_i.py").write_text(
        "import os\nvalue = os.environ['PYRE_TEST_FROM_FILE']\nasync def app(scope, receive, send): ...\n"
    )
    config = Config("served_i:app", env_file=".env", app_dir="")
    config.load()
    assert config.loaded


def test_trace_logs_messages_without_bodies(capsys: pytest.CaptureFixture[str]) -> None:
    with Running(hello, log_level="trace") as running:
        running.get("/secret")
    output = capsys.readouterr().err
    assert "'path': '/secret'" in output
    assert "<5 bytes>" in output
    assert "b'hello'" not in output
