"""The applications in examples/ do what they show, served as a user serves them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from serving import HANG_GUARD, Server, Servers

ROOT = Path(__file__).resolve().parent.parent.parent
Ask = Callable[[str], httpx.Client]


@pytest.fixture(scope="module")
def examples(server_kind: str) -> Iterator[Servers]:
    running = Servers(server_kind, ROOT)
    yield running
    running.close()


@pytest.fixture
def ask(examples: Servers, host: str) -> Iterator[Ask]:
    """ask("raw_app"): a client of that example."""
    used: list[tuple[Server, httpx.Client]] = []

    def start(name: str) -> httpx.Client:
        server = examples.shared(f"examples.{name}:app", loop=host)
        used.append((server, httpx.Client(base_url=server.url, timeout=HANG_GUARD)))
        return used[-1][1]

    yield start
    for server, client in used:
        client.close()
        server.check()


def test_raw(ask: Ask) -> None:
    client = ask("raw_app")
    assert client.get("/").text == "Hello, world!"
    assert client.post("/", content=b"x" * 300_000).content == b"x" * 300_000


def test_starlette(ask: Ask) -> None:
    client = ask("starlette_app")
    assert client.get("/").json()["hello"] == "world"
    assert client.get("/").json()["up_s"] >= 0
    assert client.get("/greet/you").json() == {"hello": "you"}
    assert client.get("/source").content == (ROOT / "examples/starlette_app.py").read_bytes()


def test_fastapi(ask: Ask) -> None:
    client = ask("fastapi_app")
    assert client.get("/").json() == {"hello": "world"}
    assert client.get("/items/3", params={"q": "a b"}).json() == {"item_id": 3, "q": "a b"}
    assert client.get("/items/three").status_code == 422
    created = client.post("/items", json={"name": "chair", "price": 2.5})
    assert (created.status_code, created.json()) == (201, {"name": "chair", "price": 2.5})
    assert client.get("/clock", params={"ticks": 1}).text == "data: 0\n\n"
    assert client.get("/openapi.json").json()["info"]["title"] == "Pyre sample"
