"""What the I/O thread (--io-threads 1) promises beyond what every other test here asks of it, too.

That it goes on while Python hangs, that Python objects die on Python's thread, and that no wake is ever lost.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

import pytest
from serving import DETACHED, Server, Servers, clients, is_installed, python_hangs, skip_missing, wait_until

pytestmark = pytest.mark.pyre_only("uvicorn has no I/O threads")


# What happens on the I/O thread alone is the same however Python is woken.
any_wake = pytest.mark.parametrize("loop", list(filter(is_installed, DETACHED))[:1])


@pytest.fixture(params=DETACHED)
def loop(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    skip_missing(name, "pyre")
    return name


@pytest.fixture
def server(serve: Callable[..., Server]) -> Server:
    return serve("hanging:app", "--timeout-header", "0.5", "--timeout-keep-alive", "0.7")


@any_wake
def test_a_malformed_request_is_refused_while_python_hangs(server: Server) -> None:
    with python_hangs(server), server.connect() as wire:
        wire.send(b"GET / HTTP/1.1\r\nbad header\r\n\r\n")
        assert wire.response().status == 400
        assert wire.closed()


@any_wake
def test_a_late_head_times_out_while_python_hangs(server: Server) -> None:
    with python_hangs(server), server.connect() as wire:
        wire.send(b"GET / HTTP/1.1\r\nHost: x\r\n")
        assert wire.response().status == 408


@any_wake
def test_an_idle_connection_is_closed_while_python_hangs(server: Server) -> None:
    with server.connect() as wire:
        wire.request("GET", "/doze?1")
        assert wire.response().text == "1"
        with python_hangs(server):
            assert wire.closed()


def test_requests_that_came_while_python_hung_are_answered(server: Server) -> None:
    wires = [server.connect() for _ in range(20)]
    with python_hangs(server):
        for number, wire in enumerate(wires):
            wire.request("POST", "/doze", body=b"%d" % number * 1000)
    for number, wire in enumerate(wires):
        assert wire.response().text == str(number) * 1000
        wire.close()


def test_clients_who_left_while_python_hung_leave_nothing_behind(server: Server) -> None:
    before = server.descriptors()
    with python_hangs(server):
        for _ in range(100):
            wire = server.connect()
            wire.request("GET", "/doze?1")
            wire.reset()
    wait_until(lambda: server.descriptors() <= before + 2)
    assert server.get("/doze?1").text == "1"


@any_wake
@pytest.mark.parametrize("size", [10, 5000, 300_000])
def test_objects_are_released_on_pythons_thread(server: Server, size: int) -> None:
    key = f"objects-{size}-{server.loop}"
    assert len(server.get(f"/objects?{key},{size}").body) == 10 * size
    assert all(server.wait_for_note(key, lambda noted: len(noted) == 10))


@any_wake
def test_objects_of_a_dead_connection_are_released_on_pythons_thread(server: Server) -> None:
    key = f"dead-{server.loop}"
    with server.connect(receive_buffer=65536) as wire:
        wire.request("GET", f"/objects?{key},60000")
        time.sleep(0.1)
        wire.reset()
    assert all(server.wait_for_note(key, lambda noted: len(noted) >= 5))


def test_no_wake_is_lost(serve: Callable[..., Server]) -> None:
    """Thousands of requests with pauses of all lengths, so that both sides fall asleep and wake at every point."""
    server = serve("hanging:app")
    failures: list[BaseException] = []

    def client(seed: int) -> None:
        chance = random.Random(seed)
        try:
            with server.connect() as wire:
                for number in range(400):
                    kind = chance.random()
                    if kind < 0.6:
                        wire.request("GET", f"/doze?{number}")
                        assert wire.response().text == str(number)
                    elif kind < 0.8:
                        data = b"z" * chance.choice((1, 1000, 30_000, 200_000))
                        wire.request("POST", "/doze", body=data)
                        assert wire.response().body == data
                    else:
                        sizes = [chance.choice((1, 100, 5000, 70_000)) for _ in range(chance.randrange(1, 8))]
                        wire.request("GET", "/stream?" + ",".join(map(str, sizes)))
                        assert len(wire.response().body) == sum(sizes)
                    if chance.random() < 0.3:
                        time.sleep(chance.random() * 0.003)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=client, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures, failures


@pytest.mark.parametrize("grace", ["0", "5"])
def test_a_shutdown_under_load(servers: Servers, loop: str, grace: str) -> None:
    with servers.private(
        "hanging:app", "--timeout-graceful-shutdown", grace, "--log-level", "warning", loop=loop
    ) as server:

        def post() -> None:
            with server.connect() as wire:
                for _ in range(50):
                    wire.request("POST", "/doze", body=b"data" * 10_000)
                    wire.response()

        with clients(6, post, 0.005):
            time.sleep(0.5)
            assert server.stop() == 0
        for word in ("Traceback", "Error", "Sanitizer", "Assertion"):
            assert word not in server.output(), server.output()
