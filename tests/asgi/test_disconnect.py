"""http.disconnect, and what send() does when nobody is there any more."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from serving import Server


@pytest.fixture
def server(serve: Callable[..., Server]) -> Server:
    return serve("streams:app")


@pytest.mark.pyre_only("uvicorn takes a FIN for the end of the connection")
def test_a_fin_wakes_receive_and_the_answer_is_still_written(server: Server) -> None:
    key = f"fin-{server.loop}"
    with server.connect() as wire:
        wire.request("GET", f"/until_disconnect?{key}")
        server.wait_for_note(key)
        wire.half_close()
        assert wire.response().text == "still here"
        assert wire.closed()
    assert server.journal(key) == ["http.request", "http.disconnect", "http.disconnect", "sent"]


@pytest.mark.pyre_only("uvicorn takes a FIN for the end of the connection")
def test_a_fin_with_the_request_is_a_disconnect_and_answered(server: Server) -> None:
    key = f"fin-at-once-{server.loop}"
    with server.connect() as wire:
        wire.request("POST", f"/until_disconnect?{key}", body=b"x")
        wire.half_close()
        assert wire.response().text == "still here"
    assert server.journal(key)[-3:] == ["http.disconnect", "http.disconnect", "sent"]


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_vanishes_wakes_receive(server: Server, how: str) -> None:
    key = f"vanish-{how}-{server.loop}"
    with server.connect() as wire:
        wire.request("GET", f"/until_disconnect?{key}")
        server.wait_for_note(key)
        getattr(wire, how)()
        noted = server.wait_for_note(key, lambda noted: len(noted) >= 4)
    assert noted[:3] == ["http.request", "http.disconnect", "http.disconnect"]
    if how == "reset" and server.kind == "pyre":
        assert noted[3] == "ClientDisconnected"


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_disconnect_that_nobody_waited_for_is_kept(server: Server, how: str) -> None:
    key = f"kept-{how}-{server.loop}"
    with server.connect() as wire:
        wire.request("GET", f"/sleep_then_receive?{key}")
        server.wait_for_note(key)
        getattr(wire, how)()
    time.sleep(0.05)
    server.get(f"/go?{key}")
    assert server.wait_for_note(key, lambda noted: len(noted) == 2) == ["sleeping", "http.disconnect"]


def test_after_the_response_receive_gives_disconnect(server: Server) -> None:
    key = f"after-{server.loop}"
    with server.connect() as wire:
        wire.request("POST", f"/answer_then_receive?{key}", body=b"x")
        assert wire.response().text == "answered"
        assert server.wait_for_note(key, lambda noted: len(noted) == 3) == ["http.disconnect"] * 3
        wire.request("GET", "/go?x")
        assert wire.response().text == "gone", "the connection is not gone, only the request is over"


def test_receive_after_the_body_waits_for_the_end(server: Server) -> None:
    key = f"wait-{server.loop}"
    with server.connect() as wire:
        wire.request("POST", f"/receive_twice?{key}", body=b"x")
        assert wire.response().text == "False"
        assert server.wait_for_note(key) == ["http.disconnect"]


@pytest.mark.pyre_only("uvicorn's send() does nothing after a disconnect")
@pytest.mark.parametrize("how", ["close", "reset"])
def test_send_to_a_dead_connection_raises_an_oserror(server: Server, how: str) -> None:
    key = f"dead-{how}-{server.loop}"
    with server.connect() as wire:
        wire.request("GET", f"/send_to_the_dead?{key}")
        wire.head()
        server.wait_for_note(key)
        getattr(wire, how)()
    noted = server.wait_for_note(key, lambda noted: len(noted) == 4)
    assert noted == ["started", True, True, "http.disconnect"]


@pytest.mark.pyre_only("uvicorn's send() does nothing after a disconnect")
@pytest.mark.parametrize("how", ["close", "reset"])
def test_an_endless_stream_ends_with_its_client(server: Server, how: str) -> None:
    key = f"ticker-{how}-{server.loop}"
    with server.connect() as wire:
        wire.request("GET", f"/ticker?{key}")
        wire.head()
        wire.take(20)
        getattr(wire, how)()
    assert server.wait_for_note(key) == ["OSError"]


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_stream_beside_a_listener_ends_with_its_client(server: Server, how: str) -> None:
    key = f"beside-{how}-{server.loop}"
    with server.connect() as wire:
        wire.request("GET", f"/beside?{key}")
        wire.head()
        wire.take(20)
        getattr(wire, how)()
    [[stream, listen]] = server.wait_for_note(key)
    assert (stream, listen) in (("CancelledError", "NoneType"), ("ClientDisconnected", "NoneType")) or "Error" in stream


def test_a_disconnect_leaves_no_error_in_the_log(server: Server) -> None:
    """An application that lets the OSError of send() out did nothing wrong."""
    key = f"quiet-{server.loop}"
    with server.connect(receive_buffer=65536) as wire:
        wire.request("GET", f"/flood?{key},400,65536")
        wire.head()
        wire.reset()
    server.wait_for_note(key, lambda noted: bool(noted) and isinstance(noted[-1], str))
    server.get("/go?x")
    assert "Traceback" not in server.new_output()
