"""--stop-event: a Win32 event that another process sets."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import threading
from pathlib import Path

import pyre._core
import pytest
from command_process import HANG_GUARD, IS_WINDOWS, Command, get

pytestmark = [
    pytest.mark.skipif(not IS_WINDOWS, reason="named events are there on Windows only"),
    pytest.mark.skipif(
        pyre._core.build_info().get("core") == "fake", reason="the native module is not built: ./scripts/setup"
    ),
]

MAIN = """
import asyncio

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            open("events", "a").write(message["type"] + chr(10))
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/for-ever":
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await asyncio.Event().wait()
    await send({"type": "http.response.body", "body": b"hello"})
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "main.py").write_text(MAIN)
    return tmp_path


@pytest.fixture
def name() -> str:
    return f"pyre-stop-{os.getpid()}-{os.urandom(4).hex()}"


def set_event(name: str) -> int:
    """From another process, as a supervisor does."""
    return subprocess.run([sys.executable, "-m", "pyre.stop_event", name], check=False, timeout=HANG_GUARD).returncode


@pytest.mark.parametrize("loop", ["asyncio", "winloop", "asyncio:SelectorEventLoop"])
def test_the_event_ends_the_server_with_its_lifespan(loop: str, name: str, directory: Path) -> None:
    if loop == "winloop":
        pytest.importorskip("winloop")
    with Command("main:app", "--port", "0", "--loop", loop, "--stop-event", name, directory=directory) as command:
        assert get(command.port()) == (200, "hello")
        assert set_event(name) == 0
        assert command.exit_code() == 0
    assert (directory / "events").read_text().split() == ["lifespan.startup", "lifespan.shutdown"]
    assert set_event(name) == 1, "it is gone with the server"


def test_a_second_time_hurries(name: str, directory: Path) -> None:
    arguments = ["--port", "0", "--stop-event", name, "--timeout-graceful-shutdown", "1h"]
    with Command("main:app", *arguments, directory=directory) as command:
        connection = http.client.HTTPConnection("127.0.0.1", command.port(), timeout=HANG_GUARD)
        connection.request("GET", "/for-ever")
        assert connection.getresponse().read(1) == b"x"
        assert set_event(name) == 0
        command.err.wait_for("Waiting for connections to close")
        assert set_event(name) == 0
        assert command.exit_code() == 0
        connection.close()
    assert (directory / "events").read_text().split()[-1] == "lifespan.shutdown"


@pytest.mark.parametrize("manual_reset", [False, True])
def test_a_supervisor_may_make_the_event_first(manual_reset: bool, name: str, directory: Path) -> None:
    import ctypes

    api = ctypes.WinDLL("kernel32")  # type: ignore[attr-defined,unused-ignore]
    event = ctypes.c_void_p(api.CreateEventW(None, manual_reset, False, name))
    assert event
    arguments = ["--port", "0", "--stop-event", name, "--timeout-graceful-shutdown", "1h"]
    with Command("main:app", *arguments, directory=directory) as command:
        connection = http.client.HTTPConnection("127.0.0.1", command.port(), timeout=HANG_GUARD)
        connection.request("GET", "/for-ever")
        assert connection.getresponse().read(1) == b"x"
        assert api.SetEvent(event)
        command.err.wait_for("Waiting for connections to close")
        threading.Event().wait(0.3)
        assert command.process.poll() is None, "one set is one signal"
        assert api.SetEvent(event)
        assert command.exit_code() == 0
        connection.close()
    api.CloseHandle(event)


def test_the_reloader_ends_by_it_with_its_child(name: str, directory: Path) -> None:
    with Command("main:app", "--port", "0", "--reload", "--stop-event", name, directory=directory) as command:
        assert get(command.port()) == (200, "hello")
        assert set_event(name) == 0
        assert command.exit_code() == 0
    assert (directory / "events").read_text().split() == ["lifespan.startup", "lifespan.shutdown"]


def test_a_name_that_cannot_be_ends_with_3_and_says_why(directory: Path) -> None:
    with Command("main:app", "--port", "0", "--stop-event", "no\\such\\place", directory=directory) as command:
        assert command.exit_code() == 3
        assert "Cannot make the stop event 'no" in command.err.rest()
    assert not (directory / "events").exists()
