"""Free-threaded Python: the GIL stays off, and --worker-mode thread runs an event loop on each of several threads."""

from __future__ import annotations

import contextlib
import json
import select
import signal
import subprocess
import sysconfig
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import HANG_GUARD, NEVER, PYTHON, Server, Servers, StartError, wait_until
from wire import Wire

pytestmark = [
    pytest.mark.pyre_only("uvicorn has no event loops on threads"),
    pytest.mark.skipif(
        not sysconfig.get_config_var("Py_GIL_DISABLED"),
        reason="this Python has a GIL; ./scripts/test free-threaded has one that has none",
    ),
]

TWO = ("--worker-mode", "thread", "--worker-threads", "2")


@pytest.fixture
def lifespan_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "lifespan"
    monkeypatch.setenv("LIFESPAN_FILE", str(path))
    return path


@contextlib.contextmanager
def wires(server: Server, count: int) -> Iterator[list[Wire]]:
    """Connections that are open at the same time: those next to each other are with different loops."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(server.connect()) for _ in range(count)]


@contextlib.contextmanager
def on_each_loop(server: Server) -> Iterator[tuple[Wire, Wire]]:
    """A connection that the first of two loops has, and one of the second's."""
    with contextlib.ExitStack() as stack:
        found: dict[str, Wire] = {}
        while len(found) < 2:
            with contextlib.ExitStack() as attempt:
                wire = attempt.enter_context(server.connect())
                if found.setdefault(where(wire)["thread"], wire) is wire:
                    stack.push(attempt.pop_all())
        yield found["pyre.loop-0"], found["pyre.loop-1"]


def ask(wire: Wire, path: str) -> str:
    wire.request("GET", path)
    text: str = wire.response().text
    return text


def where(wire: Wire) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(ask(wire, "/where"))
    return told


def test_importing_the_core_leaves_the_gil_off() -> None:
    code = "import sys, pyre._core; assert not sys._is_gil_enabled()"
    done = subprocess.run([PYTHON, "-W", "error", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("arguments", [(), ("--io-threads", "2"), TWO], ids=lambda arguments: " ".join(arguments))
def test_serving_leaves_the_gil_off(arguments: tuple[str, ...], servers: Servers) -> None:
    with servers.private("loops:app", *arguments) as server:
        with wires(server, 4) as several:
            for wire in several:
                assert where(wire)["gil"] is False
        server.check()


def test_two_requests_run_python_at_the_same_time(servers: Servers) -> None:
    """Each blocks its thread until the other is there: one after the other they would never end."""
    with servers.private("loops:app", *TWO) as server, on_each_loop(server) as (one, other):
        one.request("GET", "/meet")
        other.request("GET", "/meet")
        assert {one.response().text, other.response().text} == {"pyre.loop-0", "pyre.loop-1"}
        server.check()


def test_a_pool_that_is_made_in_the_lifespan_works_on_every_loop(servers: Servers, lifespan_file: Path) -> None:
    with servers.private("loops:with_state", *TWO) as server, wires(server, 12) as several:
        for wire in several:  # more than each pool has connections
            wire.request("GET", "/query")
        assert {wire.response().text for wire in several} == {"pyre.loop-0", "pyre.loop-1"}
        server.check()


def test_each_loop_has_a_lifespan_and_a_state_of_its_own(servers: Servers, lifespan_file: Path) -> None:
    with servers.private("loops:with_state", *TWO) as server:
        with wires(server, 4) as several:
            told = [where(wire) for wire in several]
        assert all(each["own_state"] for each in told)
        assert len({each["lock"] for each in told}) == 2
        assert server.stop() == 0
        assert lifespan_file.read_text().split() == ["startup"] * 2 + ["shutdown"] * 2


def test_a_lifespan_of_the_process_is_run_once(servers: Servers, lifespan_file: Path) -> None:
    with servers.private("loops:with_state", *TWO, "--lifespan-scope", "process") as server:
        with wires(server, 4) as several:
            told = [where(wire) for wire in several]
        assert {each["thread"]: each["own_state"] for each in told} == {"pyre.loop-0": True, "pyre.loop-1": False}
        assert len({each["lock"] for each in told}) == 1
        assert server.stop() == 0
        assert lifespan_file.read_text().split() == ["startup", "shutdown"]


def test_every_loop_finishes_what_it_runs(servers: Servers, lifespan_file: Path) -> None:
    with servers.private("loops:with_state", *TWO) as server:
        with wires(server, 4) as several:
            for wire in several:
                wire.request("GET", "/doze")
            assert set(server.wait_for_note("doze", lambda noted: len(noted) == 4)) == {"pyre.loop-0", "pyre.loop-1"}
            with server.connect() as idle:
                where(idle)
                server.tell_to_stop()
                assert idle.rest() == b""  # closed
            assert "shutdown" not in lifespan_file.read_text()
            lifespan_file.with_suffix(".release").touch()
            assert [wire.response().text for wire in several] == ["dozed"] * 4
        assert server.wait() == 0
        assert lifespan_file.read_text().split()[2:] == ["shutdown"] * 2


def test_a_second_signal_cuts_what_runs_on_every_loop(servers: Servers, lifespan_file: Path) -> None:
    with servers.private("loops:with_state", *TWO) as server, wires(server, 4) as several:
        for wire in several:
            wire.request("GET", "/doze")
        server.wait_for_note("doze", lambda noted: len(noted) == 4)
        server.process.send_signal(signal.SIGTERM)
        server.wait_for_output("Waiting for connections to close")
        server.process.send_signal(signal.SIGTERM)
        assert server.wait() == 0
        assert lifespan_file.read_text().split()[2:] == ["shutdown"] * 2
        assert server.output().count("told to hurry") == 2


def test_a_loop_whose_startup_fails_ends_the_others(
    servers: Servers, lifespan_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIL", "later")
    with pytest.raises(StartError) as failed:
        with servers.private("loops:with_state", *TWO, "--lifespan", "on"):
            pass
    assert failed.value.exit_code == 3
    assert "this loop cannot start" in failed.value.output
    assert lifespan_file.read_text().split() == ["startup", "startup", "shutdown"]


def test_a_thread_that_never_comes_back_does_not_keep_the_others(servers: Servers, lifespan_file: Path) -> None:
    with servers.private("loops:with_state", *TWO, "--timeout-graceful-shutdown", "1") as server:
        with on_each_loop(server) as (one, other), wires(server, 2) as late:
            one.request("GET", "/hang")
            assert where(other)["gil"] is False
            # Two more: one for each loop. Accepting does not wait for the one that hangs.
            for wire in late:
                wire.request("GET", "/where")
            readable, _, _ = select.select([wire.socket for wire in late], [], [], HANG_GUARD)
            assert len(readable) == 1
            server.tell_to_stop()
            assert server.wait() == 0
        assert "left behind" in server.output()
        assert lifespan_file.read_text().split()[2:] == ["shutdown"]  # of the one that can


def test_sys_exit_on_one_loop_ends_the_process_with_its_code(servers: Servers, lifespan_file: Path) -> None:
    with servers.private("loops:with_state", *TWO) as server, wires(server, 1) as (wire,):
        wire.request("GET", "/leave")
        assert server.wait() == 7
        assert lifespan_file.read_text().split()[2:] == ["shutdown"]  # of the other one


@pytest.mark.parametrize("size", [0, 10, 1_000_000])
def test_a_request_that_would_wait_is_run_by_an_idle_loop(servers: Servers, lifespan_file: Path, size: int) -> None:
    """Two requests for one loop, whose handler blocks meanwhile; each then waits for the other in plain blocking code,
    so only another loop can run one of them. It has its own state, and the answer comes by the connection's loop."""
    with servers.private("loops:with_state", *TWO) as server, contextlib.ExitStack() as stack:
        first, _ = stack.enter_context(on_each_loop(server))
        mine: list[Wire] = []
        while len(mine) < 2:
            wire = stack.enter_context(server.connect())
            if where(wire)["thread"] == "pyre.loop-0":
                mine.append(wire)
        first.request("GET", "/nap")
        time.sleep(0.2)  # it has begun
        for wire in mine:
            wire.request("POST", "/meet_and_tell", body=b"x" * size)
        time.sleep(0.2)  # both are there when the loop looks again; if not, the test waits for ever
        lifespan_file.with_suffix(".awake").touch()
        told = [json.loads(wire.response().text) for wire in mine]
        assert {each["thread"] for each in told} == {"pyre.loop-0", "pyre.loop-1"}
        assert all(each["own_state"] and each["body"] == size for each in told)
        assert {tuple(each["client"]) for each in told} == {wire.socket.getsockname() for wire in mine}
        stats = json.loads(ask(first, "/stats") if first.response().status == 200 else "{}")
        assert stats["stolen"] == stats["given"] == 1
        server.check()


def test_limits_are_for_all_loops(servers: Servers) -> None:
    with servers.private("loops:app", *TWO, "--limit-connections", "4") as server:
        with wires(server, 4) as several:
            assert {where(wire)["thread"] for wire in several} == {"pyre.loop-0", "pyre.loop-1"}
            with server.connect() as fifth:
                fifth.request("GET", "/where")
                assert fifth.quiet(0.1)
                several[0].close()
                assert fifth.response().status == 200


def test_the_limit_of_requests_at_once_is_one_for_all(servers: Servers, lifespan_file: Path) -> None:
    with servers.private("loops:app", *TWO, "--limit-concurrency", "3") as server:
        with wires(server, 4) as several:
            for wire in several[:3]:
                wire.request("GET", "/doze")
            dozing = lifespan_file.with_suffix(".dozing")
            wait_until(lambda: dozing.exists() and len(dozing.read_text()) == 3)
            several[3].request("GET", "/where")  # on whichever loop
            assert several[3].response().status == 503
            lifespan_file.with_suffix(".release").touch()
            assert [wire.response().text for wire in several[:3]] == ["dozed"] * 3


def test_the_process_ends_after_so_many_requests_on_all_loops(servers: Servers) -> None:
    with servers.private("loops:app", *TWO, "--limit-max-requests", "10") as server:
        with wires(server, 2) as several:
            for number in range(10):
                assert where(several[number % 2])["gil"] is False
        assert server.wait() == 0
        assert server.output().count("Maximum request limit of 10 exceeded") == 1


def test_the_access_log_is_one_for_all_loops(servers: Servers) -> None:
    with servers.private("loops:app", *TWO) as server:
        with wires(server, 8) as several:
            for _ in range(50):
                for wire in several:
                    wire.request("GET", "/where")
                for wire in several:
                    assert wire.response().status == 200
            stats = json.loads(ask(several[0], "/stats"))
        assert [loop["connections_total"] for loop in stats["loops"]] == [4, 4] or stats["connections_total"] >= 8
        assert stats["requests_started"] == sum(loop["requests_started"] for loop in stats["loops"]) >= 400
        assert server.stop() == 0
        lines = [line for line in server.output().splitlines() if '"GET /where HTTP/1.1" 200' in line]
        assert len(lines) == 400


def test_bodies_cross_on_every_loop(servers: Servers) -> None:
    with servers.private("loops:app", *TWO) as server, wires(server, 6) as several:
        for number, wire in enumerate(several):
            wire.request("POST", "/echo", body=bytes([number]) * 300_000)
        for number, wire in enumerate(several):
            assert wire.response().body == bytes([number]) * 300_000
        server.check()


def test_a_requests_objects_raise_on_another_thread(servers: Servers) -> None:
    with servers.private("loops:app") as server, wires(server, 1) as (wire,):
        outcomes = json.loads(ask(wire, "/elsewhere"))
        assert len(outcomes) >= 7
        assert set(outcomes) <= {"RuntimeError", "AttributeError"}, outcomes
        server.check()


def test_events_that_another_thread_changes_are_read_safely(servers: Servers) -> None:
    with servers.private("loops:app") as server, wires(server, 1) as (wire,):
        assert ask(wire, "/changing") == "changed"
        server.check()


def test_an_engine_tells_its_counters_to_any_thread() -> None:
    code = """
        import asyncio, threading
        from pyre._core import Engine

        async def app(scope, receive, send):
            pass

        async def main():
            engine = Engine(app, asyncio.get_running_loop(), {})
            await asyncio.sleep(0.05)
            seen, stop = [], threading.Event()

            def look():
                while not stop.is_set():
                    seen.append(engine.stats())
                try:
                    engine.drain()
                except RuntimeError:
                    seen.append("RuntimeError")

            threads = [threading.Thread(target=look) for _ in range(3)]
            for thread in threads:
                thread.start()
            await asyncio.sleep(0.1)
            engine.close()
            await asyncio.sleep(0.05)
            stop.set()
            for thread in threads:
                thread.join()
            assert seen.count("RuntimeError") == 3
            assert seen[0]["requests_total"] == 0 and {} in seen

        asyncio.run(main())
    """
    done = subprocess.run([PYTHON, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=HANG_GUARD * 2)
    assert done.returncode == 0, done.stderr
    for text in NEVER:
        assert text not in done.stderr


def test_an_engine_that_the_collector_ends_on_another_thread(servers: Servers) -> None:
    """It is left in a cycle of garbage, which whoever collects first ends: here a thread that is not the loop's."""
    code = """
        import asyncio, gc, socket, threading
        from pyre._core import Engine

        async def app(scope, receive, send):
            await asyncio.sleep(60)

        async def main():
            gc.disable()
            class Owner: pass
            owner = Owner()
            owner.engine = Engine(app, asyncio.get_running_loop(), {})
            listener = socket.create_server(("127.0.0.1", 0))
            owner.engine.listen(listener.fileno())
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            writer.write(b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
            await asyncio.sleep(0.1)
            owner.cycle = owner
            del owner
            thread = threading.Thread(target=gc.collect)
            thread.start()
            while thread.is_alive():
                await asyncio.sleep(0.01)
            try:
                assert await asyncio.wait_for(reader.read(), 20) == b""
            except ConnectionError:
                pass

        asyncio.run(main())
    """
    done = subprocess.run([PYTHON, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=HANG_GUARD * 2)
    assert done.returncode == 0, done.stderr
