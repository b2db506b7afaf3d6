"""ASGI 2, ASGI 3 in its shapes, and WSGI."""

from __future__ import annotations

import ast
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from serving import HANG_GUARD, Server
from wire import Closed


@pytest.mark.parametrize(
    ("name", "interface"),
    [
        ("double", "asgi2"),
        ("double", "auto"),
        ("Double", "asgi2"),
        ("Double", "auto"),
        ("single", "asgi3"),
        ("single", "auto"),
        ("method", "asgi3"),
        ("method", "auto"),
    ],
)
def test_asgi_interfaces(serve: Callable[..., Server], name: str, interface: str) -> None:
    server = serve(f"interfaces:{name}", "--interface", interface)
    if server.kind == "uvicorn" and (name, interface) == ("method", "auto"):
        pytest.skip("uvicorn takes a bound method for ASGI 2")
    with server.connect() as wire:
        for _ in range(2):
            wire.request("POST", "/path", body=b"body")
            assert wire.response().text == "/pathbody"


@pytest.fixture
def wsgi(serve: Callable[..., Server]) -> Server:
    return serve("interfaces:wsgi", "--interface", "wsgi")


def test_wsgi_environ(wsgi: Server) -> None:
    with wsgi.connect() as wire:
        wire.request(
            "POST",
            "/environ?a=%20b",
            [("host", "h:1"), ("content-type", "text/x"), ("x-two", "1"), ("x-two", "2"), ("cookie", "a=1")],
            body=b"123",
        )
        environ = ast.literal_eval(wire.response().text)
        client, _ = wire.socket.getsockname()
    wanted = {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/environ",
        "QUERY_STRING": "a=%20b",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_TYPE": "text/x",
        "CONTENT_LENGTH": "3",
        "HTTP_HOST": "h:1",
        "HTTP_X_TWO": "1,2",
        "HTTP_COOKIE": "a=1",
        "wsgi.url_scheme": "http",
        "wsgi.version": (1, 0),
        "wsgi.multithread": True,
        "wsgi.run_once": False,
        "REMOTE_ADDR": client,
        "SERVER_NAME": "127.0.0.1",
    }
    assert {key: environ.get(key) for key in wanted} == wanted
    assert str(environ["SERVER_PORT"]) == str(wsgi.port)


def test_wsgi_bodies(wsgi: Server) -> None:
    with wsgi.connect() as wire:
        wire.request("POST", "/echo", body=b"x" * 200_000)
        response = wire.response()
        assert (response.status, len(response.body)) == (201, 200_000)
        assert response.all("x-twice") == ["1", "2"]
        wire.request("POST", "/echo", [("transfer-encoding", "chunked")])
        wire.send(b"3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n")
        assert wire.response().text == "abcdef"
        wire.request("POST", "/lines", body=b"one\ntwo\nthree")
        assert ast.literal_eval(wire.response().text) == [b"one\n", b"two\n", b"three"]


def test_wsgi_responses(wsgi: Server) -> None:
    assert wsgi.get("/stream").text == "one two three"
    assert len(wsgi.get("/large").body) == 64 << 20
    assert wsgi.get("/missing").status == 404
    if wsgi.kind == "pyre":  # uvicorn's adapter has neither
        replaced = wsgi.get("/exc_info")
        assert (replaced.status, replaced.header("x-replaced"), replaced.text) == (500, "1", "replaced")
        assert wsgi.get("/write").text == "written returned"


def test_wsgi_errors(wsgi: Server) -> None:
    assert wsgi.get("/error").status == 500
    wsgi.wait_for_output("before start_response")
    with wsgi.connect() as wire:
        wire.request("GET", "/late_error")
        with pytest.raises((Closed, ConnectionResetError)):
            wire.response()
    if wsgi.kind == "pyre":
        assert wsgi.get("/no_start").status == 500


@pytest.mark.pyre_only("uvicorn's adapter does not call close()")
def test_wsgi_results_are_closed(wsgi: Server) -> None:
    wsgi.get("/stream")
    with wsgi.connect(receive_buffer=65536) as wire:
        wire.request("GET", "/endless")
        wire.head()
        wire.reset()
    until = time.monotonic() + HANG_GUARD
    while not {"stream", "endless"} <= set(closed := ast.literal_eval(wsgi.get("/closed").text)):
        assert time.monotonic() < until, closed
        time.sleep(0.05)


def test_wsgi_runs_in_threads(wsgi: Server) -> None:
    with ThreadPoolExecutor(4) as pool:
        names = list(pool.map(lambda _: wsgi.get("/sleep").text, range(4)))
    assert len(set(names)) > 1, "two at least at the same time"
    assert "MainThread" not in names
