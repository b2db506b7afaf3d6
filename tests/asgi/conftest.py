"""ASGI behaviour over real sockets, of `python -m pyre`.

With --server=uvicorn (or PYRE_TEST_SERVER=uvicorn) the same tests run against uvicorn where both behave alike: that is
how the tests themselves are tested. Those marked `pyre_only` say why not.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from serving import (  # noqa: E402
    LOOPS,
    REPRESENTATIVE,
    REPRESENTED,
    TEST_TIMEOUT,
    THREADED,
    Server,
    Servers,
    skip_missing,
)


def pytest_addoption(parser: pytest.Parser) -> None:
    try:
        parser.addoption("--server", choices=["pyre", "uvicorn"], help="the server to test")
    except ValueError:  # tests/frameworks has it, too
        pass


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "pyre_only(why): not what uvicorn does, or not in uvicorn")


def server_kind(config: pytest.Config) -> str:
    return config.getoption("--server", None) or os.environ.get("PYRE_TEST_SERVER") or "pyre"


def loop_of(item: pytest.Item) -> object:
    return item.callspec.params.get("loop") if isinstance(item, pytest.Function) and hasattr(item, "callspec") else None


def is_represented(item: pytest.Item) -> bool:
    """Other tests stand for this one on its loop."""
    loop = loop_of(item)
    return loop in REPRESENTED and item.path.stem not in REPRESENTATIVE


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = {item for item in items if HERE in item.path.parents and is_represented(item)}
    # Several loops have a lifespan each, where these count one: test_free_threaded.py has theirs.
    left_out |= {item for item in items if item.path.stem == "test_lifespan" and loop_of(item) in THREADED}
    if left_out:
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]
    for item in items:
        if HERE not in item.path.parents:
            continue
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TEST_TIMEOUT))
        marker = item.get_closest_marker("pyre_only")
        if marker is not None and server_kind(config) != "pyre":
            item.add_marker(pytest.mark.skip(reason=f"pyre only: {marker.args[0]}"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    outcome: Any = yield
    report = outcome.get_result()
    server = getattr(item, "funcargs", {}).get("server")
    if report.failed and isinstance(server, Server):
        report.sections.append(("server output", server.new_output()[-8000:]))


@pytest.fixture(scope="session")
def servers(request: pytest.FixtureRequest) -> Iterator[Servers]:
    running = Servers(server_kind(request.config), HERE / "apps")
    yield running
    running.close()


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    skip_missing(name, server_kind(request.config))
    return name


@pytest.fixture
def serve(servers: Servers, loop: str) -> Iterator[Callable[..., Server]]:
    """serve(app, *arguments): a running server that other tests may use, too. It is checked after the test."""
    used: list[Server] = []

    def start(app: str, *arguments: str) -> Server:
        server = servers.shared(app, *arguments, loop=loop)
        used.append(server)
        return server

    yield start
    for server in used:
        server.check()


@pytest.fixture
def lifespan_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the application `loops` writes down what its lifespans do; its neighbours tell it to go on."""
    path = tmp_path / "lifespan"
    monkeypatch.setenv("LIFESPAN_FILE", str(path))
    return path
