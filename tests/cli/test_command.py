"""The command with the native engine: start, addresses, logs, signals, exit codes."""

from __future__ import annotations

import json
import signal
import socket
import threading
from pathlib import Path

import pyre._core
import pytest
from command_process import AF_UNIX, HANG_GUARD, IS_WINDOWS, Command, get, get_unix, needs_posix_sockets
from free_port import free_port

pytestmark = pytest.mark.skipif(
    pyre._core.build_info().get("core") == "fake", reason="the native module is not built: ./scripts/setup"
)

SIGNALS = [signal.SIGINT, signal.SIGBREAK if hasattr(signal, "SIGBREAK") else signal.SIGTERM]
LOOPS = ["asyncio", "auto"]

MAIN = """
import asyncio, os, sys

events = open("events", "a", buffering=1)

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            print(message["type"], file=events)
            if message["type"] == "lifespan.shutdown" and os.path.exists("hang"):
                await asyncio.Event().wait()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    if scope["path"] == "/raise":
        raise RuntimeError("on purpose")
    if scope["path"] == "/wait":
        print("waiting", file=events)
        while not os.path.exists("release"):
            await asyncio.sleep(0.01)
    if scope["path"] == "/for-ever":
        print("waiting", file=events)
        await asyncio.Event().wait()
    body = {
        "/env": os.environ.get("FROM_FILE", "nothing"),
        "/loop": type(asyncio.get_running_loop()).__module__,
        "/root": scope["root_path"],
        "/client": str(scope["client"]),
    }.get(scope["path"], "hello").encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": body})

def create():
    return app

def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    size = len(environ["wsgi.input"].read())
    return [f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']} {size}".encode()]
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "main.py").write_text(MAIN)
    (tmp_path / "events").touch()
    return tmp_path


def events(directory: Path) -> list[str]:
    return (directory / "events").read_text().split("\n")[:-1]


def wait_for_event(directory: Path, event: str) -> None:
    pause = threading.Event()
    for _ in range(HANG_GUARD * 50):
        if event in events(directory):
            return
        pause.wait(0.02)
    raise AssertionError(f"no {event!r} in {events(directory)}")


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("loop", LOOPS)
def test_serves_until_a_signal_and_ends_with_0(number: int, loop: str, directory: Path) -> None:
    with Command("main:app", "--port", "0", "--loop", loop, directory=directory) as command:
        port = command.port()
        assert get(port) == (200, "hello")
        assert command.end(number) == 0
    assert events(directory) == ["lifespan.startup", "lifespan.shutdown"]
    assert "Traceback" not in command.err.rest()


@pytest.mark.parametrize("first", [[], ["run"]])
def test_run_is_optional(first: list[str], directory: Path) -> None:
    with Command(*first, "main:app", "--port", "0", directory=directory) as command:
        assert get(command.port()) == (200, "hello")


@pytest.mark.parametrize(
    "arguments",
    [["main.py:app"], ["main:create", "--factory"], ["main:create()"], ["main:create"], ["main:app", "--app-dir", "."]],
    ids=" ".join,
)
def test_ways_to_name_the_application(arguments: list[str], directory: Path) -> None:
    with Command(*arguments, "--port", "0", directory=directory) as command:
        assert get(command.port()) == (200, "hello")


@pytest.mark.parametrize(
    ("loop", "module"),
    [
        ("asyncio", f"asyncio.{'windows' if IS_WINDOWS else 'unix'}_events"),
        ("uvloop", "uvloop"),
        ("winloop", "winloop"),
    ],
)
def test_loops(loop: str, module: str, directory: Path) -> None:
    if loop in ("uvloop", "winloop"):
        pytest.importorskip(loop, reason=f"{loop} is not installed, or not for this system")
    with Command("main:app", "--port", "0", "--loop", loop, directory=directory) as command:
        assert get(command.port(), "/loop") == (200, module)


@needs_posix_sockets
def test_several_binds(directory: Path) -> None:
    binds = ["--bind", "127.0.0.1:0", "-b", "127.0.0.1:0", "-b", "unix:app.sock"]
    with Command("main:app", *binds, directory=directory) as command:
        first, second = command.port(), command.port()
        assert first != second
        assert get(first) == get(second) == (200, "hello")
        assert command.address() == "unix:app.sock"
        assert get_unix(directory / "app.sock").endswith(b"hello")
        assert command.end() == 0
    assert not (directory / "app.sock").exists()


@needs_posix_sockets
def test_a_unix_socket_with_its_mode(directory: Path) -> None:
    with Command("main:app", "--uds", "app.sock", "--uds-permissions", "600", directory=directory) as command:
        command.address()
        assert (directory / "app.sock").stat().st_mode & 0o777 == 0o600
        assert get_unix(directory / "app.sock").startswith(b"HTTP/1.1 200")


@needs_posix_sockets
@pytest.mark.parametrize("family", [socket.AF_INET, AF_UNIX])
@pytest.mark.parametrize("flag", ["--fd", "--bind"])
def test_an_inherited_socket(flag: str, family: socket.AddressFamily, directory: Path) -> None:
    with socket.socket(family) as sock:
        sock.bind(str(directory / "app.sock") if family == AF_UNIX else ("127.0.0.1", 0))
        sock.listen()
        value = str(sock.fileno()) if flag == "--fd" else f"fd://{sock.fileno()}"
        with Command("main:app", flag, value, directory=directory, pass_fds=(sock.fileno(),)) as command:
            command.address()
            if family == AF_UNIX:
                assert get_unix(directory / "app.sock").endswith(b"hello")
            else:
                assert get(sock.getsockname()[1]) == (200, "hello")


def test_environment_variables_and_env_file(directory: Path) -> None:
    pytest.importorskip("dotenv")
    (directory / ".env").write_text("FROM_FILE=yes\n")
    env = {"PYRE_PORT": "0", "PYRE_ROOT_PATH": "/api", "PYRE_ENV_FILE": ".env"}
    with Command("main:app", directory=directory, env=env) as command:
        port = command.port()
        assert get(port, "/api/env")[0] == 200
        # The root path belongs to the path, as in uvicorn.
        assert get(port, "/anything")[0] == 200


def test_wsgi(directory: Path) -> None:
    with Command("main:wsgi", "--port", "0", "--threads", "2", directory=directory) as command:
        port = command.port()
        assert get(port, "/a%20b") == (200, "GET /a b 0")
        assert get(port, "/x", method="POST", body=b"x" * 1_000_000) == (200, "POST /x 1000000")
        chunks = (b"y" * 1000 for _ in range(50))
        assert get(port, "/x", method="POST", body=chunks, encode_chunked=True) == (200, "POST /x 50000")
        assert command.end() == 0


def test_flask(directory: Path) -> None:
    pytest.importorskip("flask")
    (directory / "site.py").write_text("")  # must not shadow anything that is imported already
    (directory / "flask_main.py").write_text(
        "from flask import Flask, request\n"
        "app = Flask(__name__)\n"
        "@app.route('/<name>', methods=['GET', 'POST'])\n"
        "def hello(name): return f'{name} {len(request.data)}'\n"
    )
    with Command("flask_main:app", "--port", "0", directory=directory) as command:
        port = command.port()
        assert get(port, "/x") == (200, "x 0")
        assert get(port, "/x", method="POST", body=b"z" * 200_000) == (200, "x 200000")


# ---- logs


def test_access_lines_go_to_stdout_and_messages_to_stderr(directory: Path) -> None:
    with Command("main:app", "--port", "0", directory=directory) as command:
        port = command.port()
        get(port, "/a?b=1")
        line = command.out.wait_for("/a?b=1")
        assert line.startswith("INFO:     127.0.0.1:")
        assert '"GET /a?b=1 HTTP/1.1" 200 5 ' in line
        assert command.end() == 0
        assert "/a" not in command.err.rest()


@pytest.mark.parametrize("arguments", [["--no-access-log"], ["--log-level", "warning"]], ids=" ".join)
def test_no_access_lines(arguments: list[str], directory: Path) -> None:
    port = free_port()  # at this level the command does not tell which it has
    with Command("main:app", "--port", str(port), *arguments, directory=directory) as command:
        wait_for_event(directory, "lifespan.startup")
        until_served(port)
        assert command.end() == 0
        assert command.out.rest() == ""


def until_served(port: int) -> None:
    for _ in range(HANG_GUARD * 50):
        try:
            assert get(port) == (200, "hello")
            return
        except ConnectionRefusedError:
            threading.Event().wait(0.02)
    raise AssertionError("it does not listen")


def test_json_lines(directory: Path) -> None:
    with Command("main:app", "--port", "0", "--log-format", "json", directory=directory) as command:
        document = json.loads(command.err.wait_for("Pyre running on"))
        port = int(document["address"].rpartition(":")[2])
        get(port, "/raise")
        access = json.loads(command.out.wait_for("/raise"))
        assert (access["method"], access["path"], access["status"]) == ("GET", "/raise", 500)
        error = json.loads(command.err.wait_for("on purpose"))
        assert error["path"] == "/raise"
        assert "RuntimeError: on purpose" in error["exception"]


def test_a_logging_configuration_of_the_users(directory: Path) -> None:
    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"access": {"format": "ACCESS %(message)s bytes=%(bytes)d"}},
        "handlers": {"out": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout", "formatter": "access"}},
        "loggers": {
            "pyre.error": {"handlers": ["out"], "level": "INFO"},
            "pyre.access": {"handlers": ["out"], "level": "INFO"},
        },
    }
    config["loggers"]["pyre.error"] = {"level": "INFO", "handlers": []}  # type: ignore[index]
    (directory / "log.json").write_text(json.dumps(config))
    port = free_port()  # the configuration shows nobody which it has
    with Command("main:app", "--port", str(port), "--log-config", "log.json", directory=directory) as command:
        until_served(port)
        get(port, "/x?y")
        line = command.out.wait_for("ACCESS")
        while "/x?y" not in line:
            line = command.out.wait_for("ACCESS")
        assert line.startswith("ACCESS 127.0.0.1:")
        assert line.endswith('- "GET /x?y HTTP/1.1" 200 bytes=5')
        assert command.end() == 0


# ---- the end


def test_a_running_request_is_answered_before_the_end(directory: Path) -> None:
    with Command("main:app", "--port", "0", directory=directory) as command:
        port, answers = command.port(), []
        client = threading.Thread(target=lambda: answers.append(get(port, "/wait")))
        client.start()
        wait_for_event(directory, "waiting")
        command.send(signal.SIGTERM)
        command.err.wait_for("Waiting for connections to close")
        with pytest.raises(ConnectionRefusedError):
            get(port)
        (directory / "release").touch()
        assert command.exit_code() == 0
        client.join(HANG_GUARD)
    assert answers == [(200, "hello")]
    assert events(directory)[-1] == "lifespan.shutdown"


@pytest.mark.parametrize("how", ["time-out", "second signal"])
def test_a_request_that_does_not_end_is_cut(how: str, directory: Path) -> None:
    limit = "100ms" if how == "time-out" else "1h"
    with Command("main:app", "--port", "0", "--timeout-graceful-shutdown", limit, directory=directory) as command:
        port = command.port()

        def ask() -> None:
            with pytest.raises(OSError):  # noqa: PT011
                get(port, "/for-ever")

        client = threading.Thread(target=ask)
        client.start()
        wait_for_event(directory, "waiting")
        command.send(signal.SIGTERM)
        if how == "second signal":
            command.err.wait_for("Waiting for connections to close")
            command.send(signal.SIGTERM)
        assert command.exit_code() == 0
        client.join(HANG_GUARD)
    assert events(directory)[-1] == "lifespan.shutdown"


def test_an_idle_connection_does_not_hold_the_end_up(directory: Path) -> None:
    with (
        Command("main:app", "--port", "0", "--timeout-graceful-shutdown", "1h", directory=directory) as command,
        socket.create_connection(("127.0.0.1", command.port()), timeout=HANG_GUARD) as client,
    ):
        client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 200")
        assert command.end() == 0
        assert client.recv(1) == b""


def test_a_wsgi_application_that_hangs_does_not_hold_the_end_up(directory: Path) -> None:
    (directory / "hangs.py").write_text(
        "import threading\n"
        "def app(environ, start_response):\n"
        "    open('events', 'a').write('waiting\\n')\n"
        "    threading.Event().wait()\n"
    )
    with Command("hangs:app", "--port", "0", "--timeout-graceful-shutdown", "100ms", directory=directory) as command:
        port = command.port()

        def ask() -> None:
            with pytest.raises(OSError):  # noqa: PT011
                get(port)

        client = threading.Thread(target=ask)
        client.start()
        wait_for_event(directory, "waiting")
        assert command.end() == 0
        client.join(HANG_GUARD)


def test_three_signals_end_a_lifespan_that_hangs(directory: Path) -> None:
    (directory / "hang").touch()
    with Command("main:app", "--port", "0", directory=directory) as command:
        command.port()
        command.send(signal.SIGINT)
        wait_for_event(directory, "lifespan.shutdown")
        command.send(signal.SIGINT)
        threading.Event().wait(0.2)
        assert command.end(signal.SIGINT) == 0
        assert "Giving up on the application's shutdown." in command.err.rest()


def test_max_requests(directory: Path) -> None:
    with Command("main:app", "--port", "0", "--limit-max-requests", "2", directory=directory) as command:
        port = command.port()
        get(port)
        get(port)
        assert command.exit_code() == 0


# ---- what keeps it from starting


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["main:app", "--ssl-keyfile", "x"], 2, "TLS is not built yet"),
        (["main:app", "--no-such"], 2, "No such option"),
        (["main:app", "--log-config", "main.py"], 2, "--log-config cannot be used"),
        (["main:app", "--loop", "nothing"], 2, "no loop 'nothing'"),
        (["main:app", "--forwarded-allow-ips", "10.0.0.0/99"], 3, "10.0.0.0/99"),
        (["main:app", "--host", "no-such-host.invalid"], 3, "Cannot listen on"),
        (
            ["main:app", "--fd", "77"],
            *((2, "no file descriptors") if IS_WINDOWS else (3, "Cannot listen on fd://77")),
        ),
        (["main:nothing", "--port", "0"], 4, 'Attribute "nothing" not found'),
        (["nothing:app", "--port", "0"], 4, 'Could not import module "nothing"'),
        (["main:events", "--port", "0"], 4, "is not callable"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_exit_codes(arguments: list[str], code: int, sentence: str, directory: Path) -> None:
    with Command(*arguments, directory=directory) as command:
        assert command.exit_code() == code
        output = command.err.rest()
        assert sentence in output
        assert "Traceback" not in output


@pytest.mark.parametrize(("script", "name"), [(None, "python -m pyre"), ("pyre-server", "pyre-server")])
def test_the_usage_names_the_command_that_was_given(script: str | None, name: str, directory: Path) -> None:
    if script is not None:
        (directory / script).write_text("from pyre.cli import main\nmain()\n")
    with Command("--nonsense", directory=directory, script=script) as command:
        assert command.exit_code() == 2
        assert f"Usage: {name} [OPTIONS] APP" in command.err.rest()


def test_a_syntax_error_shows_where(directory: Path) -> None:
    (directory / "broken.py").write_text("def broken(:\n")
    with Command("broken:app", "--port", "0", directory=directory) as command:
        assert command.exit_code() == 4
        output = command.err.rest()
        assert "SyntaxError" in output
        assert 'broken.py", line 1' in output
        assert str(Path("pyre", "importer.py")) not in output


def test_a_failed_startup_ends_with_3(directory: Path) -> None:
    (directory / "fails.py").write_text(
        "async def app(scope, receive, send):\n"
        "    await receive()\n"
        "    await send({'type': 'lifespan.startup.failed', 'message': 'no database'})\n"
    )
    with Command("fails:app", "--port", "0", directory=directory) as command:
        assert command.exit_code() == 3
        assert "no database" in command.err.rest()
