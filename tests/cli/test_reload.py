"""--reload with the native engine: what survives, what is served in between, and what does not outlive what."""

from __future__ import annotations

import ctypes
import http.client
import os
import signal
import socket
import sysconfig
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pyre._core
import pytest
from command_process import HANG_GUARD, IS_WINDOWS, SIGKILL, Command, get

pytestmark = pytest.mark.skipif(
    pyre._core.build_info().get("core") == "fake", reason="the native module is not built: ./scripts/setup"
)

MAIN = """
import asyncio, os

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        open("events", "a").write("shutdown ANSWER\\n")
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["path"] == "/for-ever":
        open("events", "a").write("waiting\\n")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await asyncio.Event().wait()
    body = str(os.getpid()) if scope["path"] == "/pid" else "ANSWER"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body.encode()})
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    write(tmp_path, "first")
    (tmp_path / "events").touch()
    return tmp_path


def write(directory: Path, answer: str) -> None:
    text = MAIN.replace("ANSWER", answer)
    # In one step, as the child may read it at any time.
    (directory / "main.py.new").write_text(text)
    for _ in range(HANG_GUARD * 50):
        try:
            os.replace(directory / "main.py.new", directory / "main.py")
            return
        except PermissionError:  # Windows, while a child reads it
            threading.Event().wait(0.02)
    raise AssertionError("main.py cannot be replaced")


def start(directory: Path, *arguments: str, **options: object) -> Command:
    return Command(
        "main:app", "--port", "0", "--reload", "--reload-delay", "50ms", *arguments, directory=directory, **options
    )  # type: ignore[arg-type]


def until(port: int, path: str, wanted: Callable[[str], bool]) -> None:
    """Asks until the answer is wanted. A connection that the old child closes before it read the request is no
    failure."""
    deadline = time.monotonic() + HANG_GUARD
    while time.monotonic() < deadline:
        try:
            status, body = get(port, path)
        except (http.client.RemoteDisconnected, ConnectionResetError):
            continue
        assert status == 200
        if wanted(body):
            return
        threading.Event().wait(0.05)
    raise AssertionError("that answer never came")


def until_answer(port: int, answer: str) -> None:
    until(port, "/", lambda body: body == answer)


@pytest.fixture(params=["watchfiles", "stat"])
def env(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    if request.param == "watchfiles":
        pytest.importorskip("watchfiles", exc_type=ImportError)
        return {}
    blocked = tmp_path_factory.mktemp("blocked")
    (blocked / "watchfiles.py").write_text("raise ImportError('blocked')\n")
    return {"PYTHONPATH": os.pathsep.join([str(blocked), os.environ["PYTHONPATH"]])}


def test_a_change_is_served_and_the_listener_stays(directory: Path, env: dict[str, str]) -> None:
    with start(directory, env=env) as command:
        port = command.port()
        assert get(port) == (200, "first")
        # Clients that come all the time are all served: those during the restart wait in the backlog.
        stop, failures = threading.Event(), []

        def ask() -> None:
            while not stop.is_set():
                try:
                    status, body = get(port)
                    if status != 200 or body not in ("first", "second"):
                        failures.append((status, body))
                except ConnectionRefusedError as error:
                    failures.append(error)
                except (OSError, http.client.HTTPException):
                    pass  # one that was accepted just before the end may be closed before it is read

        client = threading.Thread(target=ask)
        client.start()
        write(directory, "second")
        until_answer(port, "second")
        stop.set()
        client.join(HANG_GUARD)
        assert failures == []
        assert command.end(signal.SIGINT) == 0
    assert (directory / "events").read_text() == "shutdown first\nshutdown second\n"


@pytest.mark.skipif(
    not sysconfig.get_config_var("Py_GIL_DISABLED") or IS_WINDOWS, reason="there is no --worker-mode thread here"
)
def test_a_change_is_served_by_every_event_loop(directory: Path) -> None:
    with start(directory, "--worker-mode", "thread", "--worker-threads", "2") as command:
        port = command.port()
        assert get(port) == (200, "first")
        write(directory, "second")
        until_answer(port, "second")
        # Connections that are open at the same time are with different loops.
        several = [http.client.HTTPConnection("127.0.0.1", port, timeout=HANG_GUARD) for _ in range(4)]
        for connection in several:
            connection.request("GET", "/")
        assert {connection.getresponse().read() for connection in several} == {b"second"}
        for connection in several:
            connection.close()
        assert command.end(signal.SIGINT) == 0
    assert (directory / "events").read_text().split("\n") == ["shutdown first"] * 2 + ["shutdown second"] * 2 + [""]


def test_no_client_is_refused_or_lost_over_several_changes(directory: Path) -> None:
    """Each client comes with a new connection and asks once: whoever accepts it, the leaving child or the next one,
    answers."""
    stop = threading.Event()
    failures: list[object] = []
    answers: list[bytes] = []

    def ask(port: int) -> None:
        while not stop.is_set():
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=HANG_GUARD) as client:
                    client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                    answer = b""
                    while piece := client.recv(65536):
                        answer += piece
            except OSError as error:
                failures.append(error)
                continue
            if answer.startswith(b"HTTP/1.1 200 "):
                answers.append(answer.rpartition(b"\r\n")[2])
            else:
                failures.append(answer)

    with start(directory) as command:
        port = command.port()
        until_answer(port, "first")
        clients = [threading.Thread(target=ask, args=(port,)) for _ in range(8)]
        for client in clients:
            client.start()
        for number in range(4):
            write(directory, f"change {number}")
            until_answer(port, f"change {number}")
        stop.set()
        for client in clients:
            client.join(HANG_GUARD)
        assert failures == []
        assert {b"first", *(b"change %d" % number for number in range(4))} == set(answers)
        assert command.end() == 0


def test_a_syntax_error_is_survived(directory: Path, env: dict[str, str]) -> None:
    with start(directory, env=env) as command:
        port = command.port()
        assert get(port) == (200, "first")
        (directory / "main.py").write_text("def broken(:\n")
        command.err.wait_for("SyntaxError")
        command.err.wait_for("Waiting for a change")
        write(directory, "mended")
        until_answer(port, "mended")
        assert command.end() == 0


def test_it_may_be_broken_from_the_start(directory: Path) -> None:
    (directory / "main.py").write_text("1 / 0\n")
    with start(directory) as command:
        port = command.port()
        command.err.wait_for("ZeroDivisionError")
        write(directory, "mended")
        until_answer(port, "mended")
        assert command.end() == 0


def test_a_change_does_not_wait_for_an_endless_answer(directory: Path) -> None:
    with start(directory, "--timeout-graceful-shutdown", "1h") as command:
        port = command.port()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=HANG_GUARD)
        connection.request("GET", "/for-ever")
        assert connection.getresponse().read(1) == b"x"
        write(directory, "second")
        until_answer(port, "second")
        connection.close()
        assert command.end() == 0


def alive(pid: int) -> bool:
    if IS_WINDOWS:
        api = ctypes.WinDLL("kernel32")  # type: ignore[attr-defined,unused-ignore]
        process = api.OpenProcess(0x0010_0000, False, pid)  # SYNCHRONIZE
        ended = not process or api.WaitForSingleObject(process, 0) == 0
        if process:
            api.CloseHandle(process)
        return not ended
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def until_dead(pid: int) -> None:
    deadline = time.monotonic() + HANG_GUARD
    while alive(pid):
        assert time.monotonic() < deadline, "it lives on"
        threading.Event().wait(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, SIGKILL])
def test_the_child_ends_with_its_parent(number: int, directory: Path) -> None:
    with start(directory) as command:
        pid = int(get(command.port(), "/pid")[1])
        assert pid != command.process.pid
        killed = 1 if IS_WINDOWS else -number
        assert command.end(number) == (killed if number == SIGKILL else 0)
        until_dead(pid)
    assert (directory / "events").read_text() == "shutdown first\n"


def test_a_terminals_ctrl_c_is_one_signal(directory: Path) -> None:
    with start(directory) as command:
        command.port()
        command.err.wait_for("Application startup complete")
        command.send_group(signal.SIGINT)
        assert command.exit_code() == 0
        assert "force" not in command.err.rest()
    assert (directory / "events").read_text() == "shutdown first\n"


def test_a_child_that_ended_by_itself_is_replaced_after_a_change(directory: Path) -> None:
    with start(directory, "--limit-max-requests", "1") as command:
        port = command.port()
        assert get(port) == (200, "first")
        command.err.wait_for("ended with code 0")
        write(directory, "second")
        assert get(port) == (200, "second")
        assert command.end() == 0


def test_the_env_file_is_read_anew(directory: Path) -> None:
    pytest.importorskip("dotenv")
    (directory / ".env").write_text("ANSWER_FROM_FILE=one\n")
    source = MAIN.replace('"ANSWER"', 'os.environ["ANSWER_FROM_FILE"]')
    (directory / "main.py").write_text(source)
    with start(directory, "--env-file", ".env") as command:
        port = command.port()
        assert get(port) == (200, "one")
        (directory / ".env").write_text("ANSWER_FROM_FILE=two\n")
        (directory / "main.py").write_text(source + "\n")
        until_answer(port, "two")


def test_included_files_count(directory: Path) -> None:
    (directory / "page.html").write_text("1")
    with start(directory, "--reload-include", "*.html") as command:
        port = command.port()
        first = get(port, "/pid")[1]
        (directory / "page.html").write_text("22")
        command.err.wait_for("detected changes in 'page.html'")
        until(port, "/pid", lambda body: body != first)
        assert command.end() == 0


def test_a_script_without_the_guard_is_told_so(directory: Path) -> None:
    (directory / "main.py").write_text(
        MAIN.replace("ANSWER", "script")
        + "\nimport pyre\npyre.run('main:app', port=0, reload=True, reload_delay=0.05)\n"
    )
    with Command(directory=directory, script="main.py") as command:
        command.port()
        command.err.wait_for("if __name__ == '__main__':")
        command.err.wait_for("Waiting for a change")
        assert command.end() == 0


def test_a_script_may_reload_itself(directory: Path) -> None:
    (directory / "main.py").write_text(
        MAIN.replace("ANSWER", "script") + "\n"
        "if __name__ == '__main__':\n"
        "    import pyre\n"
        "    pyre.run('main:app', port=0, reload=True, reload_delay=0.05)\n"
    )
    with Command(directory=directory, script="main.py") as command:
        port = command.port()
        assert get(port) == (200, "script")
        assert command.end() == 0
