"""Several I/O threads (--io-threads 3): who gets a connection, one limit for all, and that none is lost on the way from
the thread that accepts to the one that serves. Everything else is asked of them by the tests that run on every loop.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from processes import IS_WINDOWS
from serving import HANG_GUARD, Server, Servers, clients, wait_until
from wire import Wire

pytestmark = pytest.mark.pyre_only("uvicorn has no I/O threads")

LOOP = "asyncio+threads"


def loops(server: Server) -> list[dict[str, int]]:
    with server.connect() as wire:
        return loops_by(wire)


def loops_by(wire: Wire) -> list[dict[str, int]]:
    """By a connection that is there before and afterwards, where they are counted."""
    wire.request("GET", "/engine_stats")
    stats: Any = json.loads(wire.response().text)
    each: list[dict[str, int]] = stats["loops"]
    for name, value in each[0].items():
        assert isinstance(value, int)
        assert stats[name] == sum(loop[name] for loop in each)
    return each


def test_connections_are_spread_evenly(servers: Servers) -> None:
    with servers.private("hanging:app", loop=LOOP) as server, contextlib.ExitStack() as stack:
        wires = [stack.enter_context(server.connect()) for _ in range(90)]
        for number, wire in enumerate(wires):
            wire.request("GET", f"/doze?{number}")
        for number, wire in enumerate(wires):
            assert wire.response().text == str(number)
        found = sorted(loop["connections_open"] for loop in loops(server))
        assert sum(found) == 91  # the one that asks is one of them
        assert found[-1] - found[0] <= 1, found


def test_a_thread_whose_connections_left_gets_the_next_ones(servers: Servers) -> None:
    with servers.private("hanging:app", loop=LOOP) as server, contextlib.ExitStack() as stack:
        asking = stack.enter_context(server.connect())
        wires = []
        for _ in range(30):  # one after the other, so that they are placed in turn
            wires.append(stack.enter_context(server.connect()))
            wires[-1].request("GET", "/doze?1")
            wires[-1].response()
        before = [loop["connections_total"] for loop in loops_by(asking)]
        for wire in wires[::3]:
            wire.close()
        wait_until(lambda: sum(loop["connections_open"] for loop in loops_by(asking)) <= 21)
        asked = [loop["connections_total"] for loop in loops_by(asking)]
        for _ in range(10):
            wire = stack.enter_context(server.connect())
            wire.request("GET", "/doze?1")
            wire.response()
        opened = [loop["connections_open"] for loop in loops_by(asking)]
        assert max(opened) - min(opened) <= 1, (before, asked, opened)


def test_the_limit_of_connections_is_one_for_all(servers: Servers) -> None:
    with servers.private("hanging:app", "--limit-connections", "10", loop=LOOP) as server:
        wires = [server.connect() for _ in range(10)]
        for wire in wires:
            wire.request("GET", "/doze?1")
            assert wire.response().text == "1"
        waiting = [server.connect() for _ in range(5)]
        for wire in waiting:
            wire.request("GET", "/doze?2")
        assert all(wire.quiet(0.1) for wire in waiting)
        for wire in wires[:5]:  # whichever thread they were with
            wire.close()
        for wire in waiting:
            assert wire.response().text == "2"
        for wire in [*wires[5:], *waiting]:
            wire.close()


def test_no_client_is_lost_around_the_limit(servers: Servers) -> None:
    """More clients than places, who come and go: the thread that accepts stops and goes on all the time."""
    with servers.private("hanging:app", "--limit-connections", "4", loop=LOOP) as server:
        failures: list[BaseException] = []

        def client(number: int) -> None:
            try:
                for turn in range(60):
                    with server.connect() as wire:
                        wire.request("GET", f"/doze?{number}.{turn}")
                        assert wire.response().text == f"{number}.{turn}"
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=client, args=(number,)) for number in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(HANG_GUARD * 2)
        assert not failures
        assert not any(thread.is_alive() for thread in threads)


def test_a_graceful_end_waits_for_requests_of_every_thread(servers: Servers) -> None:
    with servers.private("hanging:app", loop=LOOP) as server:
        wires = [server.connect() for _ in range(6)]
        for wire in wires:
            wire.request("GET", "/linger?0.5")
        time.sleep(0.2)
        server.tell_to_stop()
        for wire in wires:
            answer = wire.response()
            assert answer.text == "lingered"
            assert answer.header("connection") == "close"
            wire.close()
        assert server.wait() == 0


@pytest.mark.parametrize("grace", ["0", "5"])
def test_an_end_while_clients_connect(servers: Servers, grace: str) -> None:
    """Sockets are on their way from one thread to another when the end comes; each is served or closed."""
    with servers.private("hanging:app", "--timeout-graceful-shutdown", grace, loop=LOOP) as server:

        def ask() -> None:
            with server.connect() as wire:
                wire.request("GET", "/doze?1")
                wire.response()

        with clients(8, ask, 0.002):
            time.sleep(0.5)
            assert server.stop() == 0
        for word in ("Traceback", "Sanitizer", "Assertion"):
            assert word not in server.output(), server.output()


def test_requests_of_one_connection_stay_in_order(servers: Servers) -> None:
    with servers.private("hanging:app", loop=LOOP) as server:
        wires = [server.connect() for _ in range(6)]
        for wire in wires:
            wire.send(b"".join(b"GET /doze?%d HTTP/1.1\r\nHost: x\r\n\r\n" % n for n in range(50)))
        for wire in wires:
            assert [wire.response().text for _ in range(50)] == [str(n) for n in range(50)]
            wire.close()


def test_every_request_is_in_the_access_log_once(servers: Servers) -> None:
    with servers.private("hanging:app", "--access-log", loop=LOOP) as server:
        wires = [server.connect() for _ in range(9)]
        for turn in range(20):
            for number, wire in enumerate(wires):
                wire.request("GET", f"/doze?{number}-{turn}")
            for number, wire in enumerate(wires):
                assert wire.response().text == f"{number}-{turn}"
        for wire in wires:
            wire.close()
        assert server.stop() == 0
        lines = [line for line in server.output().splitlines() if "/doze?" in line]
        wanted = {f"/doze?{number}-{turn} " for number in range(9) for turn in range(20)}
        assert len(lines) == len(wanted)
        assert all(sum(target in line for line in lines) == 1 for target in wanted)


@pytest.mark.skipif(IS_WINDOWS, reason="Windows has no SO_REUSEPORT")
def test_reuse_port_gives_each_thread_a_listener(servers: Servers) -> None:
    with servers.private("hanging:app", "--reuse-port", loop=LOOP) as server:
        for number in range(60):
            with server.connect() as wire:
                wire.request("GET", f"/doze?{number}")
                assert wire.response().text == str(number)
        # 61 clients that the kernel spreads over three listeners: none of them stays without.
        assert all(loop["connections_total"] > 0 for loop in loops(server))
        address = server.address
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        listening = "0A"
        assert sum(row[1].endswith(f":{address[1]:04X}") and row[3] == listening for row in rows) == 3
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            other.bind(address)
        assert server.stop() == 0


@pytest.mark.skipif(IS_WINDOWS, reason="Windows has no SO_REUSEPORT")
def test_without_reuse_port_nobody_else_gets_the_port(servers: Servers) -> None:
    with servers.private("hanging:app", loop=LOOP) as server, socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        with pytest.raises(OSError, match="in use"):
            other.bind(server.address)


def test_the_limit_holds_with_reuse_port(servers: Servers) -> None:
    if IS_WINDOWS:
        pytest.skip("Windows has no SO_REUSEPORT")
    with servers.private("hanging:app", "--reuse-port", "--limit-connections", "6", loop=LOOP) as server:
        answered: list[Wire] = []
        wires = [server.connect() for _ in range(30)]
        for wire in wires:
            wire.request("GET", "/doze?1")
        left = list(wires)
        while left:  # whoever is served makes room for another
            answered = [wire for wire in left if not wire.quiet(0.05)]
            assert 0 < len(answered) <= 6 + 2  # each thread looks at the sum when it has accepted
            for wire in answered:
                assert wire.response().text == "1"
                wire.close()
            left = [wire for wire in left if wire not in answered]
