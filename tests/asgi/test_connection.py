"""Connections: keep-alive, HTTP/1.0, pipelining, half-close."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from serving import Server, wait_until
from wire import Wire, encode


@pytest.fixture
def server(serve: Callable[..., Server]) -> Server:
    return serve("basic:app")


def test_a_connection_is_kept_for_many_requests(server: Server) -> None:
    with server.connect() as wire:
        for i in range(200):
            wire.request("POST", "/echo", body=str(i).encode())
            response = wire.response()
            assert (response.status, response.text) == (200, str(i))
            assert response.version == "HTTP/1.1"
            assert response.header("connection") in (None, "keep-alive")
        assert wire.quiet()


def test_a_request_that_comes_byte_by_byte(server: Server) -> None:
    with server.connect() as wire:
        for i in encode("POST", "/echo", [("x-a", "b")], b"body"):
            wire.send(bytes([i]))
            time.sleep(0.0005)
        assert wire.response().text == "body"


@pytest.mark.parametrize("value", ["close", "Close", "keep-alive, close"])
def test_connection_close_is_answered_and_obeyed(server: Server, value: str) -> None:
    with server.connect() as wire:
        wire.request("GET", "/hello", [("connection", value)])
        response = wire.response()
        assert response.text == "Hello, world!"
        assert response.header("connection") == "close"
        assert wire.closed()


def test_the_application_can_close_the_connection(server: Server) -> None:
    with server.connect() as wire:
        wire.request("GET", "/close")
        response = wire.response()
        assert (response.text, response.header("connection")) == ("bye", "close")
        assert wire.closed()


def test_http_1_0_closes_by_default(server: Server) -> None:
    with server.connect() as wire:
        wire.request("GET", "/hello", version="1.0")
        assert wire.response().text == "Hello, world!"
        assert wire.closed()


@pytest.mark.pyre_only("uvicorn closes every connection of HTTP/1.0")
def test_http_1_0_keeps_alive_when_asked(server: Server) -> None:
    with server.connect() as wire:
        for _ in range(3):
            wire.request("GET", "/hello", [("connection", "keep-alive")], version="1.0")
            response = wire.response()
            assert (response.text, response.header("connection")) == ("Hello, world!", "keep-alive")


@pytest.mark.parametrize("fields", [[], [("connection", "keep-alive")]])
def test_http_1_0_gets_no_chunks(server: Server, fields: list[tuple[str, str]]) -> None:
    with server.connect() as wire:
        wire.request("GET", "/chunks", fields, version="1.0")
        response = wire.head()
        if server.kind == "uvicorn":
            return  # chunks all the same
        assert response.header("transfer-encoding") is None
        assert response.header("content-length") is None
        assert response.header("connection") in (None, "close")
        assert wire.rest() == b"one two three"


def test_http_1_0_needs_no_host(server: Server) -> None:
    with server.connect() as wire:
        wire.send(b"GET /hello HTTP/1.0\r\n\r\n")
        assert wire.response().status == 200


def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    with server.connect() as wire:
        wire.send(
            encode("GET", "/slow?0.2")
            + encode("GET", "/hello")
            + encode("POST", "/echo", body=b"a body")
            + encode("GET", "/chunks")
            + encode("GET", "/missing")
            + encode("GET", "/slow?0.01")
        )
        answers = [wire.response() for _ in range(6)]
    assert [(answer.status, answer.text) for answer in answers] == [
        (200, "slow"),
        (200, "Hello, world!"),
        (200, "a body"),
        (200, "one two three"),
        (404, "not found"),
        (200, "slow"),
    ]


def test_many_pipelined_requests(server: Server) -> None:
    """More than any queue of heads holds."""
    count = 500
    with server.connect() as wire:
        wire.send(b"".join(encode("POST", "/echo", body=b"%d" % i) for i in range(count)))
        assert [wire.response().text for _ in range(count)] == [str(i) for i in range(count)]


def test_a_body_that_was_not_read_is_not_the_next_request(server: Server) -> None:
    smuggled = encode("GET", "/missing")
    with server.connect() as wire:
        wire.send(encode("POST", "/ignore_body", body=smuggled * 20) + encode("GET", "/hello"))
        assert wire.response().text == "not read"
        assert wire.response().text == "Hello, world!"
        assert wire.quiet()


def test_what_follows_a_close_is_not_answered(server: Server) -> None:
    with server.connect() as wire:
        wire.send(encode("GET", "/hello", [("connection", "close")]) + encode("GET", "/hello"))
        assert wire.response().text == "Hello, world!"
        assert wire.closed()


def test_empty_lines_before_a_request_are_skipped(server: Server) -> None:
    with server.connect() as wire:
        wire.send(b"\r\n\r\n" + encode("GET", "/hello") + b"\r\n" + encode("GET", "/hello"))
        assert wire.response().text == "Hello, world!"
        assert wire.response().text == "Hello, world!"


@pytest.mark.pyre_only("uvicorn drops the answer")
def test_a_half_close_after_a_complete_request_is_answered(server: Server) -> None:
    """`printf ... | nc -N` does this."""
    with server.connect() as wire:
        wire.request("GET", "/slow?0.1")
        wire.half_close()
        assert wire.response().text == "slow"
        assert wire.closed()
    with server.connect() as wire:
        wire.send(encode("POST", "/echo", body=b"1") + encode("GET", "/slow?0.05") + encode("GET", "/chunks"))
        wire.half_close()
        assert [wire.response().text for _ in range(3)] == ["1", "slow", "one two three"]
        assert wire.closed()


@pytest.mark.parametrize("sent", [b"", b"\r\n", b"GET /hel", b"GET /hello HTTP/1.1\r\nHost: x\r\n"])
def test_a_half_close_before_a_request_is_complete_ends_the_connection(server: Server, sent: bytes) -> None:
    with server.connect() as wire:
        wire.send(sent)
        wire.half_close()
        assert wire.rest()[:12] in (b"", b"HTTP/1.1 400")


def test_connections_beside_each_other(server: Server) -> None:
    wires = [server.connect() for _ in range(200)]
    try:
        for i, wire in enumerate(wires):
            wire.request("POST", "/echo", body=b"%d" % i)
        for i, wire in reversed(list(enumerate(wires))):
            assert wire.response().text == str(i)
    finally:
        for wire in wires:
            wire.close()


def test_a_slow_request_does_not_hold_others_up(server: Server) -> None:
    with server.connect() as slow, server.connect() as fast:
        slow.request("GET", "/wait?not-held-up")
        server.wait_for_note("not-held-up")
        fast.request("GET", "/hello")
        assert fast.response().text == "Hello, world!"
        fast.request("GET", "/go?not-held-up")
        assert fast.response().text == "gone"
        assert slow.response().text == "waited"


def test_vanished_clients_leave_no_descriptors(server: Server) -> None:
    server.get("/hello")
    before = server.descriptors()
    for i in range(100):
        wire = Wire(server.address)
        if i % 4 == 1:
            wire.send(b"GET / HT")
        elif i % 4 == 2:
            wire.request("GET", "/slow?0.01")
        elif i % 4 == 3:
            wire.send(encode("POST", "/echo", [("content-length", "10")]) + b"half")
        wire.reset() if i % 2 else wire.close()
    server.get("/hello")  # they were all accepted before it
    wait_until(lambda: server.descriptors() <= before + 2)


def test_timers_fire_on_an_otherwise_idle_loop(server: Server) -> None:
    """Nothing else happens while this request sleeps; a reactor that waits for bytes would never come back."""
    for _ in range(3):
        with server.connect() as wire:
            wire.request("GET", "/slow?0.05")
            assert wire.response().text == "slow"


def test_a_long_pipeline_is_finished_without_new_bytes(server: Server) -> None:
    """More in one read than one batch takes: the rest must not wait for the client to speak again."""
    with server.connect() as wire:
        wire.send(encode("GET", "/hello") * 2000)
        for _ in range(2000):
            assert wire.response().status == 200
