"""http.request events: what comes, in which pieces, and when."""

from __future__ import annotations

import ast
import hashlib
import random
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
from serving import HANG_GUARD, Server
from wire import Wire, encode


@pytest.fixture
def server(serve: Callable[..., Server]) -> Server:
    return serve("basic:app")


def events_of(wire: Wire) -> list[dict[str, Any]]:
    seen: list[dict[str, Any]] = ast.literal_eval(wire.response().text)
    return seen


CHUNKED = ("transfer-encoding", "chunked")


@pytest.mark.parametrize("fields", [[], [("content-length", "0")]])
def test_no_body_is_one_empty_event(server: Server, fields: list[tuple[str, str]]) -> None:
    with server.connect() as wire:
        wire.request("GET", "/events", fields)
        assert events_of(wire) == [{"type": "http.request", "body": b"", "more_body": False}]


def test_an_empty_chunked_body_is_one_empty_event(server: Server) -> None:
    with server.connect() as wire:
        wire.send(encode("POST", "/events", [CHUNKED]) + b"0\r\n\r\n")
        assert events_of(wire) == [{"type": "http.request", "body": b"", "more_body": False}]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_is_the_sum_of_its_events(server: Server, chunked: bool) -> None:
    with server.connect() as wire:
        if chunked:
            wire.send(encode("POST", "/events", [CHUNKED]) + b"5\r\nhello\r\n1\r\n \r\n05\r\nworld\r\n0\r\n\r\n")
        else:
            wire.request("POST", "/events", body=b"hello world")
        events = events_of(wire)
    assert b"".join(event["body"] for event in events) == b"hello world"
    assert [event["more_body"] for event in events] == [True] * (len(events) - 1) + [False]
    assert {event["type"] for event in events} == {"http.request"}


def test_the_first_piece_is_there_before_the_second_is_sent(server: Server) -> None:
    key = f"first-piece-{server.loop}"
    with server.connect() as wire:
        wire.request("POST", f"/each_event?{key}", [("content-length", "10")])
        wire.send(b"first")
        server.wait_for_note(key, lambda noted: b"".join(noted) == b"first")
        wire.send(b"secon")
        assert wire.response().text == "done"
    assert b"".join(server.journal(key)) == b"firstsecon"


def test_a_chunk_is_there_before_it_is_complete(server: Server) -> None:
    key = f"half-chunk-{server.loop}"
    with server.connect() as wire:
        wire.request("POST", f"/each_event?{key}", [CHUNKED])
        wire.send(b"a\r\nfirst")
        server.wait_for_note(key, lambda noted: b"".join(noted) == b"first")
        wire.send(b"secon\r\n0\r\n\r\n")
        assert wire.response().text == "done"


@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_body_arrives_whole(server: Server, chunked: bool) -> None:
    data = random.Random(1).randbytes(8_000_000)
    with server.connect() as wire:
        if chunked:
            wire.request("POST", "/digest", [CHUNKED])
            size = 70_001
            for at in range(0, len(data), size):
                wire.send_chunk(data[at : at + size])
            wire.send(b"0\r\n\r\n")
        else:
            wire.request("POST", "/digest", body=data)
        assert wire.response().text == f"{len(data)} {hashlib.sha256(data).hexdigest()}"


def test_chunk_extensions_are_ignored(server: Server) -> None:
    with server.connect() as wire:
        wire.send(encode("POST", "/echo", [CHUNKED]) + b'5;a=b;c="d"\r\nhello\r\n0;last\r\n\r\n')
        assert wire.response().text == "hello"


def test_request_trailers_are_dropped(server: Server) -> None:
    """ASGI has no event for them; they must not end up as headers, nor as the next request."""
    with server.connect() as wire:
        wire.send(
            encode("POST", "/events", [CHUNKED, ("trailer", "x-check")])
            + b"2\r\nhi\r\n0\r\nX-Check: 1\r\nX-Other: 7\r\n\r\n"
            + encode("GET", "/hello")
        )
        assert b"".join(event["body"] for event in events_of(wire)) == b"hi"
        assert wire.response().text == "Hello, world!"


def test_a_response_may_start_before_the_body_is_read(server: Server) -> None:
    with server.connect() as wire:
        wire.request("POST", "/start_then_read", [("content-length", "4")])
        head = wire.head()
        assert head.status == 200
        assert wire.take(len(b"6\r\nearly \r\n")) == b"6\r\nearly \r\n"
        wire.send(b"late")
        assert wire.rest_of_chunks() == b"late"


# ---- Expect: 100-continue

EXPECT = ("expect", "100-continue")


def test_100_continue_is_sent_when_the_application_reads(server: Server) -> None:
    key = f"continue-{server.loop}"
    with server.connect() as wire:
        wire.request("POST", f"/late_read?{key}", [EXPECT, ("content-length", "4")])
        server.wait_for_note(key)
        assert wire.quiet(0.1), "before the application reads there is no reason to ask for the body"
        assert wire.head().status == 100
        assert "reading" in server.journal(key)
        wire.send(b"body")
        response = wire.response()
        assert (response.text, response.informational) == ("body", [])


def test_no_100_continue_when_the_application_answers_without_reading(server: Server) -> None:
    with server.connect() as wire:
        wire.request("POST", "/refuse_body", [EXPECT, ("content-length", "4")])
        response = wire.response()
        assert response.status == 413
        assert response.informational == []


def test_no_100_continue_when_the_body_is_there_already(server: Server) -> None:
    if server.kind == "uvicorn":
        pytest.skip("uvicorn sends it all the same")
    with server.connect() as wire:
        wire.request("POST", "/echo", [EXPECT], body=b"body")
        response = wire.response()
        assert (response.text, response.informational) == ("body", [])


@pytest.mark.pyre_only("uvicorn sends 100 to HTTP/1.0")
def test_no_100_continue_to_http_1_0(server: Server) -> None:
    with server.connect() as wire:
        wire.request("POST", "/echo", [EXPECT, ("content-length", "4")], version="1.0")
        assert wire.quiet()
        wire.send(b"body")
        response = wire.response()
        assert (response.text, response.informational) == ("body", [])


# ---- bodies that nobody reads


def test_an_unread_body_does_not_cost_the_connection(server: Server) -> None:
    with server.connect() as wire:
        for _ in range(3):
            wire.request("POST", "/ignore_body", body=b"x" * 50_000)
            assert wire.response().text == "not read"


@pytest.mark.pyre_only("uvicorn waits for the whole body")
def test_an_early_answer_reaches_a_client_that_still_sends(server: Server) -> None:
    """Closing with unread bytes in the socket would reset the connection, and the client would lose the answer."""
    with server.connect() as wire:
        wire.request("POST", "/refuse_body", [("content-length", str(1 << 30))])
        wire.send(b"x" * 200_000)
        response = wire.response()
        assert (response.status, response.text) == (413, "too much")
        assert response.header("connection") == "close"
        assert wire.closed()


def test_an_upload_to_a_slow_application_is_bounded(server: Server) -> None:
    """The client gets stuck long before its 64 MB are in the server's memory; then everything arrives."""
    key = f"slow-upload-{server.loop}"
    total = 64 << 20
    block = b"x" * 65536
    with server.connect() as wire:
        before = server.resident_bytes()
        wire.request("POST", f"/slow_read?{key}", [("content-length", str(total))])
        server.wait_for_note(key)
        sent = 0
        wire.socket.settimeout(1.0)
        try:
            while sent < total:
                sent += wire.socket.send(block[: total - sent])
        except TimeoutError:
            pass
        assert sent < total // 2, "kernel buffers hold a few MB; the rest went into the server"
        assert server.resident_bytes() - before < 16 << 20
        wire.socket.settimeout(HANG_GUARD)
        server.get(f"/go?{key}")
        while sent < total:
            sent += wire.socket.send(block[: total - sent])
        assert wire.response().text == str(total)


def test_a_reader_that_waits_sees_a_client_that_vanishes(server: Server) -> None:
    key = f"vanish-{server.loop}"
    with server.connect() as wire:
        wire.request("POST", f"/until_disconnect?{key}", [("content-length", "10")])
        wire.send(b"half")
        server.wait_for_note(key)
    assert server.wait_for_note(key, lambda noted: "http.disconnect" in noted)


def test_body_bytes_after_the_length_are_the_next_request(server: Server) -> None:
    with server.connect() as wire:
        wire.send(encode("POST", "/echo", [("content-length", "3")]) + b"abc" + encode("GET", "/hello"))
        assert wire.response().text == "abc"
        assert wire.response().text == "Hello, world!"


def test_a_body_with_nagle_and_pauses(server: Server) -> None:
    with server.connect() as wire:
        wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
        wire.request("POST", "/digest", [("content-length", "5")])
        for byte in b"12345":
            wire.send(bytes([byte]))
            time.sleep(0.02)
        assert wire.response().text.startswith("5 ")
