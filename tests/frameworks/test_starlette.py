"""What Starlette, FastAPI and sse-starlette rely on in a server."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from serving import HANG_GUARD, Server


@pytest.fixture(params=["starlette_app:app", "starlette_app:wrapped"])
def server(request: pytest.FixtureRequest, serve: Callable[..., Server], host: str) -> Server:
    return serve(request.param, loop=host)


@pytest.fixture
def fastapi(serve: Callable[..., Server], host: str) -> Server:
    return serve("fastapi_app:app", loop=host)


def wait_for_mark(server: Server, key: str) -> None:
    until = time.monotonic() + HANG_GUARD
    while key not in httpx.get(server.url + "/marks").json():
        assert time.monotonic() < until, f"{key} did not end"
        time.sleep(0.02)


@pytest.mark.parametrize("path", ["/endless", "/endless_sse"])
@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_generator_ends_when_its_client_vanishes(server: Server, path: str, how: str) -> None:
    key = f"{path}-{how}-{server.app}"
    with server.connect() as wire:
        wire.request("GET", f"{path}?key={key}")
        assert wire.head().status == 200
        wire.take(30)
        getattr(wire, how)()
    wait_for_mark(server, key)
    assert "Traceback" not in server.new_output()


def test_server_sent_events(server: Server) -> None:
    response = httpx.get(server.url + "/sse")
    assert response.headers["content-type"].startswith("text/event-stream")
    events = [event.splitlines() for event in response.text.replace("\r\n", "\n").strip().split("\n\n")]
    assert events == [["event: count", f"data: {i}"] for i in range(3)]


def test_a_generator_without_async(server: Server) -> None:
    assert httpx.get(server.url + "/sync_stream").text == "".join(f"piece {i}, " for i in range(10))


def test_is_disconnected_loses_nothing(server: Server) -> None:
    assert httpx.get(server.url + "/disconnected").text == "there"


def test_context_reaches_the_thread_pool(server: Server) -> None:
    assert httpx.get(server.url + "/context").text == "in the request"


def test_a_half_closed_client_gets_its_answer(server: Server) -> None:
    """Also through BaseHTTPMiddleware, which listens for the disconnect beside the response."""
    if server.kind == "uvicorn":
        pytest.skip("it drops the answer")
    for path, part in (("/json", "hello"), ("/stream", "piece 9")):
        with server.connect() as wire:
            wire.request("GET", path, [("connection", "close")])
            wire.half_close()
            response = wire.response()
            assert response.status == 200
            assert part in response.text


def test_files(server: Server, sample: Path) -> None:
    data = sample.read_bytes()
    with httpx.Client(base_url=server.url) as client:
        whole = client.get("/file")
        assert whole.content == data
        assert int(whole.headers["content-length"]) == len(data)
        part = client.get("/file", headers={"range": "bytes=100-199"})
        assert (part.status_code, part.content) == (206, data[100:200])
        assert part.headers["content-range"] == f"bytes 100-199/{len(data)}"
        head = client.head("/file")
        assert (head.headers["content-length"], head.content) == (str(len(data)), b"")
        again = client.get("/static/sample.bin")
        assert again.content == data
        cached = client.get("/static/sample.bin", headers={"if-none-match": again.headers["etag"]})
        assert (cached.status_code, cached.content) == (304, b"")
        assert client.get("/static/missing").status_code == 404


def test_a_websocket_route_is_refused_cleanly(server: Server) -> None:
    """WebSocket is not built yet: a client gets a plain HTTP answer, and the connection stays in order."""
    if server.kind == "uvicorn":
        pytest.skip("uvicorn has WebSockets")
    fields = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ]
    with server.connect() as wire:
        wire.request("GET", "/websocket", fields)
        assert wire.response().status in (400, 404, 426)
    assert httpx.get(server.url + "/json").status_code == 200


def test_errors_reach_the_log(server: Server) -> None:
    assert httpx.get(server.url + "/error").status_code == 500
    server.wait_for_output("RuntimeError: an error of the application")


# ---- FastAPI


def test_models_and_validation(fastapi: Server) -> None:
    with httpx.Client(base_url=fastapi.url) as client:
        item = {"name": "chair", "price": 1.5}
        assert client.post("/model", json=item).json() == item
        assert client.post("/model", json={"name": "chair"}).status_code == 422
        assert client.post("/model", content=b"{", headers={"content-type": "application/json"}).status_code == 422
        assert client.get("/openapi.json").json()["openapi"].startswith("3.")
        assert client.get("/docs").status_code == 200
        assert client.get("/teapot").json() == {"detail": "short and stout"}


def test_dependencies_with_yield(fastapi: Server) -> None:
    with httpx.Client(base_url=fastapi.url) as client:
        assert client.get("/depends", headers={"x-name": "me"}).json() == "me"
        wait_for_mark(fastapi, "closed")


def test_lifespan_state(fastapi: Server) -> None:
    assert httpx.get(fastapi.url + "/state").json() is True


def test_middleware(fastapi: Server) -> None:
    with httpx.Client(base_url=fastapi.url) as client:
        large = client.get("/large")
        assert large.headers["content-encoding"] == "gzip"
        assert large.json() == list(range(20_000))
        allowed = client.get("/json", headers={"origin": "http://allowed.example"})
        assert allowed.headers["access-control-allow-origin"] == "http://allowed.example"
        preflight = client.options(
            "/json", headers={"origin": "http://allowed.example", "access-control-request-method": "GET"}
        )
        assert preflight.status_code == 200


def test_uploads(fastapi: Server) -> None:
    data = bytes(range(256)) * 8192
    response = httpx.post(fastapi.url + "/upload", files={"file": ("data.bin", data)}, timeout=HANG_GUARD)
    assert response.json() == {"name": "data.bin", "size": len(data), "sum": sum(data)}


def test_an_echo_of_a_stream(fastapi: Server) -> None:
    """From spec_version 2.4 on Starlette does not listen for the disconnect beside it, which would eat the body."""
    if fastapi.kind == "uvicorn":
        pytest.skip("its spec_version is 2.3")
    data = b"0123456789" * 200_000
    assert httpx.post(fastapi.url + "/echo_stream", content=data, timeout=HANG_GUARD).content == data
