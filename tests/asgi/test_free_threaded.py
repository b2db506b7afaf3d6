"""Free-threaded Python: the GIL stays off, and --worker-mode thread runs an event loop on each of several threads."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from on_loops import FREE_THREADED, TWO, ask, on_each_loop, where, wires
from serving import HANG_GUARD, NEVER, PYTHON, Server, Servers, wait_until
from wire import Closed, Wire, encode

pytestmark = FREE_THREADED


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
    """Each runs Python, without a call that blocks, until it has seen the other do so."""
    with servers.private("loops:app", *TWO) as server, on_each_loop(server) as (one, other):
        one.request("GET", "/meet")
        other.request("GET", "/meet")
        told = [json.loads(wire.response().text) for wire in (one, other)]
        assert [each["met"] for each in told] == [True, True]
        assert [each["gil"] for each in told] == [False, False]
        assert {each["thread"] for each in told} == {"pyre.loop-0", "pyre.loop-1"}
        server.check()


def test_a_pool_that_is_made_in_the_lifespan_works_on_every_loop(servers: Servers, lifespan_file: Path) -> None:
    """Two connections each, which are kept until a request has had to wait for one on either loop."""
    with servers.private("loops:with_state", *TWO) as server, contextlib.ExitStack() as stack:
        several: list[Wire] = []
        while set(server.journal("waited")) != {"pyre.loop-0", "pyre.loop-1"}:
            assert len(several) < 100
            several.append(stack.enter_context(server.connect()))
            several[-1].request("GET", "/query")
        lifespan_file.with_suffix(".release").touch()
        answers = [wire.response() for wire in several]
        assert {answer.status for answer in answers} == {200}
        assert {answer.text for answer in answers} == {"pyre.loop-0", "pyre.loop-1"}
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


@pytest.mark.parametrize("size", [0, 10, 1_000_000])
def test_a_request_that_would_wait_is_run_by_an_idle_loop(servers: Servers, lifespan_file: Path, size: int) -> None:
    """Two requests for one loop, whose handler blocks meanwhile; each then waits for the other in plain blocking code,
    so only another loop can run one of them. It has its own state, and the answer comes by the connection's loop."""
    with servers.private("loops:with_state", *TWO) as server, two_that_wait(server, lifespan_file) as mine:
        body = b"x" * size
        for wire in mine:  # heads first: when they are sent both are there for the loop's next look
            wire.send(encode("POST", "/meet_and_tell", body=body).removesuffix(body))
        senders = [threading.Thread(target=wire.send, args=(body,)) for wire in mine]  # nobody reads them yet
        for sender in senders:
            sender.start()
        lifespan_file.with_suffix(".awake").touch()
        told = [json.loads(wire.response().text) for wire in mine]
        for sender in senders:
            sender.join()
        assert {each["thread"] for each in told} == {"pyre.loop-0", "pyre.loop-1"}
        assert all(each["own_state"] and each["body"] == size for each in told)
        assert {tuple(each["client"]) for each in told} == {wire.socket.getsockname() for wire in mine}
        with server.connect() as asking:

            def counted() -> bool:
                stats = json.loads(ask(asking, "/stats"))
                return bool(stats["stolen"] == stats["given"] == 1)

            wait_until(counted)
        server.check()


@contextlib.contextmanager
def two_that_wait(server: Server, lifespan_file: Path) -> Iterator[list[Wire]]:
    """Two connections of the first loop, whose handler blocks it for as long as the block."""
    with on_each_loop(server) as (first, _), contextlib.ExitStack() as stack:
        mine: list[Wire] = []
        while len(mine) < 2:
            wire = stack.enter_context(server.connect())
            if where(wire)["thread"] == "pyre.loop-0":
                mine.append(wire)
        first.request("GET", "/nap")
        wait_until(lifespan_file.with_suffix(".napping").exists)
        yield mine
        assert first.response().text == "awake"


def test_a_given_request_hears_of_the_end_of_its_client_that_came_before(servers: Servers, lifespan_file: Path) -> None:
    with servers.private("loops:with_state", *TWO) as server, two_that_wait(server, lifespan_file) as mine:
        for wire in mine:
            wire.request("GET", "/meet_and_wait_for_the_end")
            wire.half_close()
        lifespan_file.with_suffix(".awake").touch()
        told = [json.loads(wire.response().text) for wire in mine]
        assert {each["thread"] for each in told} == {"pyre.loop-0", "pyre.loop-1"}
        assert [each["event"] for each in told] == ["http.disconnect"] * 2


def test_a_request_whose_client_is_gone_is_not_given(servers: Servers, lifespan_file: Path) -> None:
    with servers.private("loops:with_state", *TWO) as server:
        with two_that_wait(server, lifespan_file) as mine:
            for wire in mine:
                wire.request("GET", "/doze")
                wire.reset()
            lifespan_file.with_suffix(".awake").touch()
        with server.connect() as asking:
            stats = json.loads(ask(asking, "/stats"))
        assert stats["given"] == stats["stolen"] == 0
        assert not lifespan_file.with_suffix(".dozing").exists(), "nobody wants to know"


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


def test_the_limit_with_its_jitter_is_one_for_all_loops(servers: Servers) -> None:
    limit = ("--limit-max-requests", "4", "--limit-max-requests-jitter", "12")
    with servers.private("loops:app", *TWO, *limit) as server:
        answered = 0
        with contextlib.suppress(OSError, Closed):  # when it ends
            while answered < 20:
                with server.connect() as wire:
                    assert where(wire)["gil"] is False
                answered += 1
        assert server.wait() == 0
        said = re.findall(r"Maximum request limit of (\d+) exceeded", server.output())
        assert len(said) == 1 and 4 <= int(said[0]) <= 16
        assert answered >= int(said[0])


def test_the_access_log_is_one_for_all_loops(servers: Servers) -> None:
    with servers.private("loops:app", *TWO) as server:
        with server.connect() as first:
            # The one that looked whether the server listens is not a client, and counts as long as it is there.
            wait_until(lambda: json.loads(ask(first, "/stats"))["connections_open"] == 1)
            with wires(server, 7) as several:
                several.append(first)
                for _ in range(50):
                    for wire in several:
                        wire.request("GET", "/where")
                    for wire in several:
                        assert wire.response().status == 200
                stats = json.loads(ask(first, "/stats"))
        assert [loop["connections_open"] for loop in stats["loops"]] == [4, 4]
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
