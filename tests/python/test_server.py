from __future__ import annotations

import asyncio
import contextvars
import socket
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest
from fake_core import Engine
from pyre import last_exit
from pyre.config import Config
from pyre.errors import ConfigError
from pyre.server import Server
from records import Records
from running import HANG_GUARD, Recording, Running, get, hello, until

LOOPS = ["asyncio", "none", "auto", "asyncio:new_event_loop"]


async def started(server: Server, **arguments: Any) -> asyncio.Task[None]:
    """The task that serves, once it does."""
    task = asyncio.create_task(server.serve(**arguments))
    while not server.started:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    return task


async def ask(host: str, port: int) -> bytes:
    """All that the server answers to a request."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    answer = await reader.read()
    writer.close()
    return answer


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
        task = await started(server)
        server.should_exit = True
        await asyncio.wait_for(task, HANG_GUARD)

    asyncio.run(main())


def test_the_listening_sockets_can_be_found() -> None:
    with Running(hello, host="localhost") as running:
        [listening] = running.server.servers
        assert {sock.getsockname()[1] for sock in listening.sockets} == {running.port}
    assert running.server.servers == []


def test_a_subclass_may_override_the_parts_with_uvicorns_signatures() -> None:
    class Mine(Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets=sockets)
            self.parts.append("startup")

        async def main_loop(self) -> None:
            self.parts.append("main loop")

        async def shutdown(self, sockets: Any = None) -> None:
            await super().shutdown(sockets=sockets)
            self.parts.append("shutdown")

        parts: list[str] = []  # noqa: RUF012

    Mine(Config(hello, port=0, access_log=False)).run()
    assert Mine.parts == ["startup", "main loop", "shutdown"]


def test_the_parts_can_be_called_without_serve_and_on_another_loop_again() -> None:
    app = Recording()
    server = Server(Config(app, port=0, access_log=False))

    async def main() -> None:
        await server.startup()
        assert (await ask(*server.servers[0].sockets[0].getsockname())).endswith(b"hello")
        await server.shutdown()

    for _ in range(2):
        asyncio.run(asyncio.wait_for(main(), HANG_GUARD))
    assert app.events == ["startup", "request", "shutdown"] * 2


def test_started_again_while_it_serves() -> None:
    """As the tests of httpx restart their server."""
    app = Recording()

    async def main() -> None:
        server = Server(Config(app, port=0, access_log=False))
        task = await started(server)
        await server.shutdown()
        await server.startup()
        assert server.servers
        server.should_exit = True
        await asyncio.wait_for(task, HANG_GUARD)

    asyncio.run(main())
    assert app.events == ["startup", "shutdown"] * 2


@pytest.mark.parametrize(
    "options",
    [{"host": "localhost"}, {"host": "127.0.0.1"}, *([{"uds": "bound.sock"}] if hasattr(socket, "AF_UNIX") else [])],
)
def test_a_socket_that_was_bound_before_the_start(options: Any, app_dir: Path) -> None:
    if "uds" in options:
        config = Config(hello, access_log=False, **options)
    else:
        config = Config(hello, options["host"], 0, access_log=False)
    with config.bind_socket() as sock:
        assert sock.family == (socket.AF_UNIX if "uds" in options else socket.AF_INET)
        server = Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
        thread.start()
        until(lambda: server.started)
        with socket.socket(sock.family) as client:
            client.connect(sock.getsockname())
            client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            assert client.makefile("rb").read().endswith(b"hello")
        server.should_exit = True
        thread.join(HANG_GUARD)
        assert not thread.is_alive()


def test_serves_sockets_of_the_callers_and_leaves_them_open() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))

        async def main() -> None:
            server = Server(Config(hello, access_log=False))
            task = await started(server, sockets=[sock])
            assert (await ask(*sock.getsockname())).endswith(b"hello")
            server.should_exit = True
            await asyncio.wait_for(task, HANG_GUARD)

        asyncio.run(main())
        assert sock.getsockname()[1] > 0


def test_a_cancelled_serve_ends_the_lifespan() -> None:
    app = Recording()

    async def main() -> None:
        server = Server(Config(app, port=0, access_log=False))
        task = await started(server)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, HANG_GUARD)

    asyncio.run(main())
    assert app.events == ["startup", "shutdown"]
    assert Engine.made[-1].calls == ["stop_listening", "drain", "close"]


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
        task = await started(server)
        answer = await ask("127.0.0.1", server.listeners[0].sock.getsockname()[1])
        server.should_exit = True
        await asyncio.wait_for(task, HANG_GUARD)
        return answer.rsplit(b"\r\n", 1)[1]

    assert asyncio.run(main()) == seen


def test_running_requests_are_waited_for() -> None:
    app = Recording()
    with Running(app) as running:
        port, results = running.port, []
        client = threading.Thread(target=lambda: results.append(get(port, "/wait")))
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


@pytest.mark.parametrize("why", ["timeout", "force_exit"])
def test_what_does_not_end_is_cut_and_the_lifespan_still_ends(why: str, records: Records) -> None:
    app = Recording()
    with Running(app, timeout_graceful_shutdown=0.05 if why == "timeout" else None) as running:
        client = threading.Thread(target=get, args=(running.port, "/wait"))
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
    assert "Maximum request limit of 2 exceeded" in records.text


def test_jitter_is_added_to_max_requests() -> None:
    limits = set()
    for _ in range(20):
        with Running(hello, limit_max_requests=100, limit_max_requests_jitter=50) as running:
            limits.add(Engine.made[-1].options["limit_max_requests"])
            assert Engine.made[-1].options["limit_max_requests"] == running.server.limit_max_requests
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


def test_the_mode_of_a_thread_server_is_refused_however_it_is_started() -> None:
    server = Server(Config(hello, port=0, access_log=False))
    server.config.worker_mode = "thread"  # a Config refuses it where there is a GIL
    with pytest.raises(ConfigError, match="ThreadServer"):
        server.run()
    with pytest.raises(ConfigError, match="ThreadServer"):
        asyncio.run(server.serve())


def test_a_thread_server_needs_its_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LoopGroup", "usable_cpus"):  # what the fake engine does not have
        monkeypatch.setattr(sys.modules["pyre._core"], name, None, raising=False)
    from pyre.loop_threads import ThreadServer

    with pytest.raises(ConfigError, match="worker_mode"):
        ThreadServer(Config(hello, port=0))


def test_a_process_that_left_threads_behind_ends_by_itself() -> None:
    """Exit code, exit handlers and output as ever, but not the interpreter's own end, which waits for a thread."""
    code = f"""
        import atexit, runpy, sys, threading
        exit_beside_threads = runpy.run_path({last_exit.__file__!r})["exit_beside_threads"]  # without the native module

        threading.Thread(target=threading.Event().wait).start()
        atexit.register(print, "handler")
        sys.stdout.write("output ")
        exit_beside_threads(%s)
    """
    for error, exit_code, told in (
        ("None", 0, ""),
        ("SystemExit()", 0, ""),
        ("SystemExit(7)", 7, ""),
        ("SystemExit('why')", 1, "why\n"),
        ("ValueError('what')", 1, "ValueError: what\n"),
    ):
        command = [sys.executable, "-c", textwrap.dedent(code) % error]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout, done.stderr) == (exit_code, "output handler\n", told)
