"""Requests that must be refused, from the outside.

The exhaustive table is the C++ tests'; here each kind is met once, by a whole server, and the application never sees
any of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from serving import Server

HOST = b"Host: x\r\n"


@pytest.fixture
def server(serve: Callable[..., Server]) -> Server:
    return serve("basic:app")


BAD = {
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", (400,)),
    "no version": (b"GET /\r\n\r\n", (400, 505)),
    "version 0.9": (b"GET / HTTP/0.9\r\n" + HOST + b"\r\n", (400, 505)),
    "version 2.0": (b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", (400, 505)),
    "version 1.2": (b"GET / HTTP/1.2\r\n" + HOST + b"\r\n", (400, 505)),
    "bad method": (b"G@T / HTTP/1.1\r\n" + HOST + b"\r\n", (400, 501)),
    "two spaces": (b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n", (400,)),
    "space in the target": (b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n", (400,)),
    "NUL in the target": (b"GET /\0 HTTP/1.1\r\n" + HOST + b"\r\n", (400,)),
    "fragment": (b"GET /#f HTTP/1.1\r\n" + HOST + b"\r\n", (400,)),
    "CONNECT": (b"CONNECT x:1 HTTP/1.1\r\n" + HOST + b"\r\n", (400, 405, 501)),
    "no Host": (b"GET / HTTP/1.1\r\n\r\n", (400,)),
    "two Hosts": (b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n", (400,)),
    "bad Host": (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", (400,)),
    "space before the colon": (b"GET / HTTP/1.1\r\n" + HOST + b"X-A : b\r\n\r\n", (400,)),
    "no colon": (b"GET / HTTP/1.1\r\n" + HOST + b"X-A\r\n\r\n", (400,)),
    "no name": (b"GET / HTTP/1.1\r\n" + HOST + b": b\r\n\r\n", (400,)),
    "folded": (b"GET / HTTP/1.1\r\n" + HOST + b"X-A: b\r\n c\r\n\r\n", (400,)),
    "folded at the start": (b"GET / HTTP/1.1\r\n X-A: b\r\n" + HOST + b"\r\n", (400,)),
    "bare CR in a value": (b"GET / HTTP/1.1\r\n" + HOST + b"X-A: b\rX-C: d\r\n\r\n", (400,)),
    "bare LF": (b"GET / HTTP/1.1\nHost: x\n\n", (400,)),
    "NUL in a value": (b"GET / HTTP/1.1\r\n" + HOST + b"X-A: b\0\r\n\r\n", (400,)),
    "control byte in a value": (b"GET / HTTP/1.1\r\n" + HOST + b"X-A: b\x01\r\n\r\n", (400,)),
    "CL and TE": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        (400,),
    ),
    "TE and CL": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        (400,),
    ),
    "differing CL": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n", (400,)),
    "CL list": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5, 6\r\n\r\n", (400,)),
    "CL sign": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: +5\r\n\r\nhello", (400,)),
    "CL hex": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 0x5\r\n\r\nhello", (400,)),
    "CL empty": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: \r\n\r\n", (400,)),
    "CL overflow": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 18446744073709551616\r\n\r\n", (400, 413)),
    "TE not last": (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked, gzip\r\n\r\n", (400, 501)),
    "TE unknown": (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: nonsense\r\n\r\n", (400, 501)),
    "TE twice": (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", (400, 501)),
    "TE in 1.0": (b"POST / HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", (400,)),
    "expectation": (b"POST / HTTP/1.1\r\n" + HOST + b"Expect: magic\r\nContent-Length: 0\r\n\r\n", (417,)),
    "long line": (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", (414,)),
    "long fields": (b"GET / HTTP/1.1\r\n" + HOST + b"X-A: " + b"b" * 70_000 + b"\r\n\r\n", (431,)),
    "many fields": (b"GET / HTTP/1.1\r\n" + HOST + b"X-A: b\r\n" * 200 + b"\r\n", (431,)),
}
CHUNKED = b"POST /echo HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
BAD_CHUNKS = {
    "size is no number": b"x\r\n",
    "size has a sign": b"+5\r\nhello\r\n0\r\n\r\n",
    "size is hex with 0x": b"0x5\r\nhello\r\n0\r\n\r\n",
    "size is empty": b"\r\nhello\r\n0\r\n\r\n",
    "size overflows": b"ffffffffffffffff1\r\n",
    "space after the size": b"5 \r\nhello\r\n0\r\n\r\n",
    "no CRLF after the data": b"5\r\nhelloX\r\n0\r\n\r\n",
    "only LF after the size": b"5\nhello\r\n0\r\n\r\n",
    "trailer with a space": b"0\r\nX A: b\r\n\r\n",
    "trailer folded": b"0\r\nX-A: b\r\n c\r\n\r\n",
    "long extension": b"5;" + b"e" * 20_000 + b"\r\nhello\r\n0\r\n\r\n",
}


@pytest.mark.pyre_only("llhttp's lenient parts and what it does not look at differ")
@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_is_refused_and_the_connection_closed(server: Server, name: str) -> None:
    data, statuses = BAD[name]
    follower = b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"
    with server.connect() as wire:
        wire.send(data + follower)
        response = wire.response()
        assert response.status in statuses, response
        assert response.header("connection") == "close"
        assert wire.closed(), "what follows could be anything"
    assert server.get("/hello").status == 200


@pytest.mark.pyre_only("llhttp's lenient parts differ")
@pytest.mark.parametrize("name", BAD_CHUNKS)
def test_a_bad_chunk_ends_the_connection(server: Server, name: str) -> None:
    follower = b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"
    with server.connect() as wire:
        wire.send(CHUNKED + BAD_CHUNKS[name] + follower)
        response = wire.response()
        assert response.status == 400
        assert wire.closed()


@pytest.mark.pyre_only("uvicorn does not answer with 414, 431 or 417")
def test_a_bad_request_after_good_ones_leaves_their_answers(server: Server) -> None:
    good = b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"
    with server.connect() as wire:
        wire.send(good + good + b"GET / HTTP/1.1\r\n\r\n")
        assert [wire.response().status for _ in range(3)] == [200, 200, 400]
        assert wire.closed()


@pytest.mark.pyre_only("uvicorn has no limit")
def test_a_body_over_the_limit_is_413(serve: Callable[..., Server]) -> None:
    server = serve("basic:app", "--limit-request-body", "1k")
    with server.connect() as wire:
        wire.request("POST", "/echo", body=b"x" * 1024)
        assert wire.response().status == 200
        wire.request("POST", "/echo", [("content-length", "1025")])
        assert wire.response().status == 413
        assert wire.closed()
    with server.connect() as wire:
        wire.request("POST", "/digest", [("transfer-encoding", "chunked")])
        wire.send_chunk(b"x" * 1000)
        wire.send_chunk(b"x" * 100)
        assert wire.response().status == 413
        assert wire.closed()


@pytest.mark.pyre_only("uvicorn waits for ever")
def test_a_head_that_does_not_come_times_out(serve: Callable[..., Server]) -> None:
    server = serve("basic:app", "--timeout-header", "1s")
    with server.connect() as silent, server.connect() as slow:
        start = time.monotonic()
        slow.send(b"GET /hello HTTP/1.1\r\nHo")
        assert slow.response().status == 408
        assert slow.closed()
        assert silent.closed(), "408 only if part of a request had come"
        assert time.monotonic() - start > 0.5


@pytest.mark.pyre_only("the flag's unit differs")
def test_an_idle_connection_is_closed_without_a_word(serve: Callable[..., Server]) -> None:
    server = serve("basic:app", "--timeout-keep-alive", "1s")
    with server.connect() as wire:
        wire.request("GET", "/hello")
        assert wire.response().status == 200
        assert wire.closed()


@pytest.mark.pyre_only("uvicorn waits for ever")
def test_a_body_that_does_not_come_times_out(serve: Callable[..., Server]) -> None:
    server = serve("basic:app", "--timeout-body", "1s")
    with server.connect() as wire:
        wire.request("POST", "/echo", [("content-length", "10")])
        wire.send(b"half")
        assert wire.response().status == 408
        assert wire.closed()
    # Python's turn is not the peer's: a slow application is no slow body.
    with server.connect() as wire:
        wire.request("POST", "/slow?2.5", [("content-length", "4")])
        wire.send(b"body")
        assert wire.response().text == "slow"


def test_a_websocket_handshake_is_not_left_hanging(serve: Callable[..., Server]) -> None:
    """WebSocket is not built yet: the request is served as HTTP, which may ignore an Upgrade (RFC 9110 7.8)."""
    server = serve("basic:app", "--ws", "none")
    with server.connect() as wire:
        wire.request(
            "GET",
            "/hello",
            [
                ("connection", "Upgrade"),
                ("upgrade", "websocket"),
                ("sec-websocket-version", "13"),
                ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ],
        )
        response = wire.response()
        assert (response.status, response.text) == (200, "Hello, world!")
        wire.request("GET", "/hello")
        assert wire.response().text == "Hello, world!"
