"""An application is at home in asyncio: tasks, contexts, cancellation, time-outs, executors, anyio."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import IS_WINDOWS
from serving import Server
from wire import encode

sys.path.insert(0, str(Path(__file__).parent / "apps"))


@pytest.fixture
def server(serve: Callable[..., Server]) -> Server:
    return serve("tasks:app")


@pytest.mark.parametrize(
    "name",
    [
        "anyio_groups",
        "bare_awaitables",
        "callbacks",
        "cancel_in_receive",
        "cancel_self",
        "child_answers",
        "executor",
        "first_step",
        "later_steps",
        "own_connections",
        "own_datagrams",
        "process_pool",
        "reentrant",
        "subprocesses",
        "task_group",
        "timeout_cancels_work",
        "tokens",
    ],
)
def test_a_handler_that_checks_itself(server: Server, name: str) -> None:
    if IS_WINDOWS and server.loop == "selector" and name == "subprocesses":
        pytest.skip("asyncio's selector loop has no subprocesses on Windows")
    with server.connect() as wire:
        for _ in range(3):
            wire.request("POST", f"/{name}", body=b"x")
            response = wire.response()
            assert (response.status, response.text) == (200, "ok")


def test_receive_and_send_are_awaitables_of_every_kind(server: Server) -> None:
    with server.connect() as wire:
        for _ in range(3):
            wire.request("POST", "/awaitables", body=b"x")
            assert wire.response().text == "ok!"


def test_many_small_steps(server: Server) -> None:
    with server.connect() as wire:
        wire.request("GET", "/nested_steps")
        assert wire.response().text == "x" * 200


def test_contexts_are_each_requests_own(server: Server) -> None:
    """One after the other on a connection, pipelined, and at the same time on many."""
    with server.connect() as wire:
        for i in range(5):
            wire.request("POST", f"/context?{i}", body=b"x")
            assert wire.response().text == "ok"
        if server.kind == "pyre":  # uvicorn starts a pipelined request in the context of the one before
            wire.send(b"".join(encode("GET", f"/context?{i}") for i in range(20)))
            assert [wire.response().text for _ in range(20)] == ["ok"] * 20
    wires = [server.connect() for _ in range(20)]
    try:
        for i, wire in enumerate(wires):
            wire.request("GET", f"/context?{i}")
        assert [wire.response().text for wire in wires] == ["ok"] * 20
    finally:
        for wire in wires:
            wire.close()


def test_requests_at_the_same_time_have_tasks_of_their_own(server: Server) -> None:
    with server.connect() as one, server.connect() as other:
        one.request("GET", f"/own_tasks?{server.loop}")
        other.request("GET", f"/own_tasks?{server.loop}")
        assert one.response().text == "ok"
        assert other.response().text == "ok"


def test_a_time_out_in_receive_loses_no_byte(server: Server) -> None:
    key = f"time-out-{server.loop}"
    with server.connect() as wire:
        wire.request("POST", f"/timeout_in_receive?{key}", [("content-length", "9")])
        wire.send(b"first")
        server.wait_for_note(key)
        wire.send(b"last")
        assert wire.response().text == "firstlast"


def test_receive_beside_work(server: Server) -> None:
    key = f"either-{server.loop}"
    with server.connect() as wire:
        wire.request("GET", f"/wait_for_either?{key}")
        assert wire.response().text == "ok"
        assert server.wait_for_note(key) == ["disconnect"]


def test_a_task_outlives_its_request(server: Server) -> None:
    key = f"outlive-{server.loop}"
    assert server.get(f"/child_tasks?{key}").text == "ok"
    assert server.wait_for_note(key) == ["outlived"]


def test_requests_that_came_while_the_loop_was_blocked_are_all_served(server: Server) -> None:
    wires = [server.connect() for _ in range(150)]
    try:
        wires[0].request("GET", "/block?0.3")
        time.sleep(0.05)
        for wire in wires[1:]:
            wire.request("GET", "/first_step")
        assert [wire.response().text for wire in wires] == ["ok"] * len(wires)
    finally:
        for wire in wires:
            wire.close()


def test_no_task_is_left_behind(server: Server) -> None:
    """all_tasks() after many requests holds what it held before."""
    count = int(server.get("/count_tasks").text)
    for _ in range(50):
        assert server.get("/later_steps").text == "ok"
    until = time.monotonic() + 20
    while int(server.get("/count_tasks").text) > count and time.monotonic() < until:
        time.sleep(0.02)
    assert int(server.get("/count_tasks").text) <= count


def test_a_request_without_suspension_in_debug_mode(servers: object, serve: Callable[..., Server]) -> None:
    """PYTHONASYNCIODEBUG=1: plain create_task() is used, and nothing else changes."""
    from serving import Servers

    assert isinstance(servers, Servers)
    with servers.private("tasks:app", environment={"PYTHONASYNCIODEBUG": "1"}) as server:
        for name in ("first_step", "later_steps", "cancel_self", "task_group", "anyio_groups", "executor"):
            with server.connect() as wire:
                wire.request("POST", f"/{name}", body=b"x")
                assert wire.response().text == "ok", name


def test_a_loop_with_a_task_factory(servers: object) -> None:
    from serving import Servers

    assert isinstance(servers, Servers)
    with servers.private("task_factory:app") as server:
        assert server.get("/made").text == "ok"
