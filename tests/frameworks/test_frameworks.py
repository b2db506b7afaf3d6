"""Each framework's sample application does what it does under any server, on both event loops."""

from __future__ import annotations

import contextlib
import importlib.util
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from processes import IS_WINDOWS
from serving import HANG_GUARD, THREADED, Server, skip_missing

APPS = {
    "blacksheep": ("blacksheep_app:app",),
    "django": ("django_app:app",),
    "falcon": ("falcon_app:app",),
    "fastapi": ("fastapi_app:app",),
    "flask as wsgi": ("flask_app:app", "--interface", "wsgi"),
    "flask by a2wsgi": ("flask_app:adapted",),
    "litestar": ("litestar_app:app",),
    "quart": ("quart_app:app",),
    "starlette": ("starlette_app:app",),
    "starlette behind BaseHTTPMiddleware": ("starlette_app:wrapped",),
}


@pytest.fixture(params=["asyncio", "winloop"] if IS_WINDOWS else ["asyncio", "uvloop", "uvloop+io"])
def loop(request: pytest.FixtureRequest, server_kind: str) -> str:
    name: str = request.param
    skip_missing(name, server_kind)
    return name


@pytest.fixture(params=APPS)
def server(request: pytest.FixtureRequest, serve: Callable[..., Server], loop: str) -> Server:
    package = request.param.partition(" ")[0]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed: it has no wheels for this Python")
    return serve(*APPS[request.param], loop=loop)


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=HANG_GUARD) as client:
        yield client


def test_json_route(client: httpx.Client) -> None:
    for _ in range(3):
        response = client.get("/json")
        assert (response.status_code, response.json()) == (200, {"hello": "world"})


def test_plain_function_or_thread(client: httpx.Client) -> None:
    assert client.get("/sync").json() == {"hello": "thread"}


def test_path_and_query_parameters(client: httpx.Client) -> None:
    assert client.get("/items/42", params={"q": "a b/\u4f60&="}).json() == {"number": 42, "q": "a b/\u4f60&="}
    assert client.get("/items/none").status_code in (400, 404, 422)


def test_form(client: httpx.Client) -> None:
    data = {"a": "1 2", "b": "\u00e4&="}
    assert client.post("/form", data=data).json() == data


@pytest.mark.parametrize("size", [0, 1, 1000, 100_000, 2_000_000])
def test_a_body_comes_back(client: httpx.Client, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    response = client.post("/echo", content=data, headers={"content-type": "application/octet-stream"})
    assert response.status_code == 200
    assert response.content == data


def test_a_chunked_body_comes_back(server: Server, client: httpx.Client) -> None:
    if "adapted" in server.app or (server.kind == "uvicorn" and "flask" in server.app):
        pytest.skip("the adapter does not say wsgi.input_terminated, so Flask does not read it")
    pieces = [b"one ", b"two ", b"x" * 70_000]
    headers = {"content-type": "application/octet-stream"}
    assert client.post("/echo", content=iter(pieces), headers=headers).content == b"".join(pieces)


def test_stream(client: httpx.Client) -> None:
    with client.stream("GET", "/stream") as response:
        assert response.status_code == 200
        text = "".join(response.iter_text())
    assert text == "".join(f"piece {i}, " for i in range(10))


def test_background_task(client: httpx.Client) -> None:
    before = client.get("/marks").json().count("background")
    response = client.post("/background")
    assert (response.status_code, response.text.strip().strip('"')) == (200, "accepted")
    until = time.monotonic() + HANG_GUARD
    while client.get("/marks").json().count("background") == before:
        assert time.monotonic() < until
        time.sleep(0.01)


def test_error_page(server: Server, client: httpx.Client) -> None:
    # uvicorn cuts a connection, without having said so, whose application raised after its response.
    headers = {"connection": "close"} if server.kind == "uvicorn" else {}
    for _ in range(2):
        response = client.get("/error", headers=headers)
        assert response.status_code == 500
        assert "Traceback" not in response.text
    assert client.get("/json").status_code == 200


def test_not_found_and_method_not_allowed(client: httpx.Client) -> None:
    assert client.get("/missing").status_code == 404
    assert client.delete("/json").status_code in (404, 405)


def test_head(client: httpx.Client) -> None:
    response = client.head("/json")
    assert response.status_code in (200, 404, 405)  # FastAPI and others have no HEAD of their own
    assert response.content == b""
    assert client.get("/json").status_code == 200


def test_a_file(client: httpx.Client, sample: Path) -> None:
    for _ in range(2):
        response = client.get("/file")
        assert response.status_code == 200
        assert response.content == sample.read_bytes()


@pytest.mark.parametrize("loop", THREADED)
def test_on_several_event_loops(server: Server) -> None:
    """The clients' connections, open at the same time, are with different loops."""
    data = bytes(range(256)) * 2000
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(httpx.Client(base_url=server.url, timeout=HANG_GUARD)) for _ in range(4)]
        for _ in range(3):
            for client in clients:
                assert client.get("/json").json() == {"hello": "world"}
                assert client.get("/sync").json() == {"hello": "thread"}
                assert client.post("/echo", content=data).content == data
