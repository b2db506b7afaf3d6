"""http.response.start and http.response.body: framing, fields, bodies."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Callable

import pytest
from serving import Server


@pytest.fixture
def server(serve: Callable[..., Server]) -> Server:
    return serve("basic:app")


def test_content_length_of_the_application(server: Server) -> None:
    for path, text in (("/length", "0123456789"), ("/pieces", "hello world")):
        response = server.get(path)
        assert (response.header("content-length"), response.text) == (str(len(text)), text)
        assert response.header("transfer-encoding") is None


def test_a_body_without_a_length_is_chunked(server: Server) -> None:
    response = server.get("/chunks")
    assert (response.header("transfer-encoding"), response.text) == ("chunked", "one two three")
    assert b"" not in response.chunks, "an empty piece must not look like the end"


def test_a_body_in_one_piece(server: Server) -> None:
    response = server.get("/one_piece")
    assert response.text == "complete"
    if server.kind == "pyre":
        assert response.header("content-length") == "8"


def test_defaults_of_the_events(server: Server) -> None:
    response = server.get("/no_body_key")
    assert (response.status, response.text) == (200, "")


@pytest.mark.parametrize(
    ("path", "length"), [("/length", "10"), ("/hello", "13"), ("/large?3,100000", "300000"), ("/status?204", None)]
)
def test_head_has_the_fields_and_no_body(server: Server, path: str, length: str | None) -> None:
    with server.connect() as wire:
        for _ in range(2):
            wire.request("HEAD", path)
            response = wire.response("HEAD")
            assert (response.body, response.header("content-length")) == (b"", length)
        wire.request("GET", "/hello")
        assert wire.response().text == "Hello, world!"


def test_head_of_a_stream(server: Server) -> None:
    with server.connect() as wire:
        wire.request("HEAD", "/chunks")
        assert wire.response("HEAD").status == 200
        wire.request("GET", "/hello")
        assert wire.response().text == "Hello, world!"


@pytest.mark.parametrize("path", ["/status?204", "/status?304"])
def test_204_and_304_have_no_body(server: Server, path: str) -> None:
    with server.connect() as wire:
        wire.request("GET", path)
        response = wire.response()
        assert response.header("transfer-encoding") is None
        if response.status == 204:
            assert response.header("content-length") is None
        wire.request("GET", "/hello")
        assert wire.response().text == "Hello, world!"


@pytest.mark.pyre_only("uvicorn writes it, and the client takes it for the next response")
@pytest.mark.parametrize("status", [204, 304])
def test_a_body_where_none_may_be_is_not_sent(server: Server, status: int) -> None:
    with server.connect() as wire:
        wire.request("GET", f"/status?{status},body")
        assert wire.response().status == status
        wire.request("GET", "/hello")
        assert wire.response().text == "Hello, world!"


@pytest.mark.parametrize(
    ("status", "reason"), [(200, "OK"), (404, "Not Found"), (418, "I'm a Teapot"), (299, ""), (599, "")]
)
def test_status_line(server: Server, status: int, reason: str) -> None:
    response = server.get(f"/status?{status},text")
    assert (response.status, response.text) == (status, "text")
    assert response.reason in (reason, "I'm a teapot") if status == 418 else response.reason == reason


def test_fields_keep_order_and_repetition(server: Server) -> None:
    response = server.get("/fields")
    assert response.all("set-cookie") == ["a=1", "b=2"]
    assert response.header("x-latin") == "caf\xe9"
    assert response.header("x-empty") == ""
    assert response.header("x-mixed-case") == "padded"
    names = [name for name, _ in response.headers if name.startswith(("x-", "set-"))]
    assert names == ["set-cookie", "x-mixed-case", "set-cookie", "x-latin", "x-empty"]


def test_a_date_is_added(server: Server) -> None:
    date = server.get("/hello").header("date")
    assert date is not None
    assert abs(email.utils.parsedate_to_datetime(date).timestamp() - time.time()) < 600
    assert email.utils.format_datetime(email.utils.parsedate_to_datetime(date), usegmt=True) == date


@pytest.mark.pyre_only("uvicorn adds its own beside the application's")
def test_the_applications_date_and_server_count(server: Server) -> None:
    response = server.get("/own_date")
    assert response.header("date") == "Thu, 01 Jan 1970 00:00:00 GMT"
    assert response.header("server") == "mine"


def test_headers_from_the_command_line(serve: Callable[..., Server]) -> None:
    server = serve("basic:app", "--no-date-header", "--header", "X-From: command line", "--header", "x-b:2")
    response = server.get("/hello")
    assert response.header("date") is None
    assert response.header("x-from") == "command line"
    assert response.header("x-b") == "2"


def test_hop_by_hop_fields_of_the_application_have_a_defined_result(server: Server) -> None:
    with server.connect() as wire:
        for _ in range(2):
            wire.request("GET", "/hop_by_hop")
            response = wire.response()
            assert response.header("transfer-encoding") == "chunked"
            assert response.text == "one two"
            assert response.header("connection") in (None, "keep-alive")


@pytest.mark.pyre_only("uvicorn concatenates bytes; the specification asks for bytes only")
def test_bytes_like_bodies_are_copied(server: Server) -> None:
    assert server.get("/buffers").text == "bytearray memoryview a part"


def test_headers_may_be_any_iterable_and_unknown_keys_are_ignored(server: Server) -> None:
    response = server.get("/iterables")
    assert response.all("x-a") == ["1", "1"]
    assert response.text == "ok"


@pytest.mark.parametrize("pieces", ["1,5000000", "100,65536", "5000,100", "3,1000000"])
def test_large_bodies_arrive_whole(server: Server, pieces: str) -> None:
    count, size = map(int, pieces.split(","))
    response = server.get(f"/large?{pieces}")
    assert response.body == b"".join(bytes([65 + i % 26]) * size for i in range(count))
