from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_core import Engine
from pyre.config import Config
from pyre.errors import ConfigError
from pyre.loops import loop_factory
from pyre.main import run
from pyre.server import HANDLED_SIGNALS, Server
from records import Records
from running import HANG_GUARD, Recording, get, hello, until

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


ON_WINDOWS = os.name == "nt"
# On Windows the selector loop has no subprocesses and no more than 512 sockets.
ASYNCIO = getattr(asyncio, "ProactorEventLoop", asyncio.SelectorEventLoop)
FAST, OTHERS = ("winloop", "uvloop") if ON_WINDOWS else ("uvloop", "winloop")


def test_loops_by_name() -> None:
    assert loop_factory("none") is None
    assert loop_factory("asyncio") is ASYNCIO
    fast = pytest.importorskip(FAST)
    assert loop_factory("auto") is fast.new_event_loop
    assert loop_factory(FAST) is fast.new_event_loop


def test_the_other_systems_loop_is_refused_with_the_name_of_this_ones() -> None:
    with pytest.raises(ConfigError, match=f"--loop {OTHERS}: .* does not exist for this system. Here it is {FAST}"):
        loop_factory(OTHERS)


def test_auto_loop_without_the_fast_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, FAST, None)
    assert loop_factory("auto") is ASYNCIO


# ---- signals, on the main thread


@pytest.fixture
def in_time() -> Iterator[None]:
    """SIGALRM, where there is one, ends a test that hangs on the main thread."""
    alarm = getattr(signal, "alarm", lambda seconds: None)
    alarm(HANG_GUARD)
    yield
    alarm(0)


def raise_outside(number: int) -> None:
    """As if it came from elsewhere: on Windows that is on a thread of its own, and os.kill() is something else."""
    if os.name == "nt":
        signal.raise_signal(number)
    else:
        os.kill(os.getpid(), number)


def signal_when(condition: Callable[[], bool], *numbers: int) -> threading.Thread:
    def send() -> None:
        for number in numbers:
            until(condition)
            raise_outside(number)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    return thread


@pytest.mark.usefixtures("in_time")
@pytest.mark.parametrize("number", HANDLED_SIGNALS)
@pytest.mark.parametrize("loop", ["asyncio", "auto", "asyncio:SelectorEventLoop"])
def test_a_signal_ends_run_with_the_lifespan_and_puts_the_handlers_back(number: int, loop: str) -> None:
    app = Recording()
    before = signal.getsignal(number)
    signal_when(lambda: bool(Engine.made), number)
    run(app, port=0, loop=loop, access_log=False)
    assert app.events == ["startup", "shutdown"]
    assert signal.getsignal(number) is before


@pytest.mark.usefixtures("in_time")
@pytest.mark.skipif(ON_WINDOWS, reason="Windows has no pthread_kill; no signal interrupts a system call there")
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_signal_that_interrupts_no_system_call_ends_run(loop: str) -> None:
    """One that comes just before the loop waits, that is. Here another thread takes it, so the loop's wait goes on."""
    pytest.importorskip(loop)
    app = Recording()

    def send() -> None:
        until(lambda: bool(Engine.made))
        time.sleep(0.2)  # the loop waits
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    run(app, port=0, loop=loop, access_log=False)
    thread.join()
    assert app.events == ["startup", "shutdown"]
    assert signal.set_wakeup_fd(-1) == -1, "everything is as it was"


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
        client = threading.Thread(target=get, args=(server.listeners[0].sock.getsockname()[1], "/wait"), daemon=True)
        client.start()
        app.waiting.wait(HANG_GUARD)
        raise_outside(signal.SIGTERM)
        until(lambda: "drain" in Engine.made[-1].calls)
        raise_outside(signal.SIGTERM)

    threading.Thread(target=act, daemon=True).start()
    server.run()
    assert app.events == ["startup", "cancelled", "shutdown"]


def hurry_twice(server: Server) -> None:
    """Three signals once it has started, with time to act on each."""

    def act() -> None:
        until(lambda: server.started)
        for _ in range(3):
            raise_outside(signal.SIGINT)
            threading.Event().wait(0.2)

    threading.Thread(target=act, daemon=True).start()


@pytest.mark.usefixtures("in_time")
def test_a_third_signal_gives_up_on_the_lifespan(records: Records) -> None:
    app = Recording()
    app.stop.clear()
    server = Server(Config(app, port=0, access_log=False))
    server.reraise_signals = False

    hurry_twice(server)
    server.run()
    assert app.events == ["startup"]
    assert "Giving up on the application's shutdown." in records.text


@pytest.mark.usefixtures("in_time")
def test_what_an_abandoned_lifespan_says_is_no_error_of_its_own(records: Records) -> None:
    """Starlette catches the cancellation, sends shutdown.failed with the traceback, and raises."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        try:
            await asyncio.Event().wait()
        except BaseException:
            await send({"type": "lifespan.shutdown.failed", "message": "a traceback"})
            raise ValueError("and something else") from None

    server = Server(Config(app, port=0, access_log=False, lifespan="on"))
    server.reraise_signals = False

    hurry_twice(server)
    server.run()
    assert [record.getMessage() for record in records.records if record.levelname == "ERROR"] == [
        "Giving up on the application's shutdown."
    ]
    assert "Application shutdown complete" not in records.text


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
            raise_outside(signal.SIGINT)
            threading.Event().wait(0.2)

    threading.Thread(target=act, daemon=True).start()
    with pytest.raises(SystemExit) as caught:
        run(app, port=0)
    assert caught.value.code == 3
