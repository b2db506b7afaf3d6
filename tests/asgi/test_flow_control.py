"""send() waits for a client that does not read, and memory stays where it is."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from serving import Server
from wire import encode


@pytest.fixture
def server(serve: Callable[..., Server]) -> Server:
    return serve("streams:app")


def settled(noted: list[Any]) -> bool:
    """The last reports are alike: the application waits."""
    return len(noted) >= 8 and len(set(noted[-5:])) == 1


@pytest.mark.parametrize("size", [1000, 65536, 4 << 20])
def test_send_waits_when_nobody_reads(server: Server, size: int) -> None:
    total = 256 << 20
    key = f"flood-{size}-{server.loop}"
    before = server.resident_bytes()
    with server.connect(receive_buffer=65536) as wire:
        wire.request("GET", f"/flood?{key},{total // size},{size}")
        taken = server.wait_for_note(key, settled)[-1]
        assert taken * size < 32 << 20, "socket buffers and one high-water mark are far less"
        spare = 64 << 20 if os.environ.get("PYRE_SANITIZER") else 24 << 20
        assert server.resident_bytes() - before < max(spare, 4 * size)
        response = wire.head()
        received = 0
        length = int(response.header("content-length") or 0)
        while received < min(length, 8 << 20):
            received += len(wire.take(1 << 20))
        assert server.wait_for_note(
            key, lambda noted: noted[-1] == "all" or noted[-1] * size > taken * size + (4 << 20)
        )


def test_a_response_that_was_stuck_goes_on(server: Server) -> None:
    key = f"stuck-{server.loop}"
    count, size = 300, 65536
    with server.connect(receive_buffer=65536) as wire:
        wire.request("GET", f"/flood?{key},{count},{size}")
        server.wait_for_note(key, settled)
        assert len(wire.response().body) == count * size
        assert server.wait_for_note(key, lambda noted: noted[-1] == "all")
        wire.request("GET", f"/go?{key}")
        assert wire.response().text == "gone"


def test_a_stuck_response_does_not_hold_others_up(server: Server) -> None:
    key = f"others-{server.loop}"
    with server.connect(receive_buffer=65536) as wire:
        wire.request("GET", f"/flood?{key},4000,65536")
        server.wait_for_note(key, settled)
        for _ in range(20):
            assert server.get("/go?x").text == "gone"


def test_a_client_that_vanishes_wakes_a_send_that_waits(server: Server) -> None:
    key = f"wake-{server.loop}"
    with server.connect(receive_buffer=65536) as wire:
        wire.request("GET", f"/flood?{key},4000,65536")
        server.wait_for_note(key, settled)
        wire.reset()
    if server.kind == "uvicorn":
        server.wait_for_note(key, lambda noted: noted[-1] == "all")
        return
    noted = server.wait_for_note(key, lambda noted: isinstance(noted[-1], str))
    assert "Error" in noted[-1] or "Disconnected" in noted[-1]


@pytest.mark.pyre_only("uvicorn grows by hundreds of MB")
def test_pipelined_answers_that_nobody_reads_are_bounded(server: Server) -> None:
    request = encode("GET", "/go?bounded") * 100
    before = server.resident_bytes()
    sent = 0
    with server.connect(receive_buffer=4096) as wire:
        wire.socket.settimeout(1.0)
        with contextlib.suppress(TimeoutError):
            while sent < 15 << 20:
                sent += wire.socket.send(request)
        time.sleep(0.3)
        # A sanitizer keeps what was freed for a while: AddressSanitizer up to 256 MiB.
        limit = 320 << 20 if os.environ.get("PYRE_SANITIZER") else 8 << 20
        assert server.resident_bytes() - before < limit
        assert sent < 15 << 20, "reading stops when answers pile up"
        assert server.get("/go?bounded").text == "gone"
