"""Sample applications of real frameworks, asked by real clients. `--server` as in tests/asgi."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "asgi"))

from processes import IS_WINDOWS  # noqa: E402
from serving import TEST_TIMEOUT, Server, Servers  # noqa: E402


def pytest_addoption(parser: pytest.Parser) -> None:
    try:
        parser.addoption("--server", choices=["pyre", "uvicorn"], help="the server to test")
    except ValueError:  # tests/asgi has it, too
        pass


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TEST_TIMEOUT))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    outcome: Any = yield
    report = outcome.get_result()
    server = getattr(item, "funcargs", {}).get("server")
    if report.failed and HERE in item.path.parents and isinstance(server, Server):
        report.sections.append(("server output", server.new_output()[-8000:]))


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 3 MB and a bit, in a folder of its own."""
    path = tmp_path_factory.mktemp("sample") / "sample.bin"
    path.write_bytes(b"".join(hashlib.sha256(i.to_bytes(4, "big")).digest() for i in range(100_001)))
    return path


@pytest.fixture(scope="session")
def server_kind(request: pytest.FixtureRequest) -> str:
    return request.config.getoption("--server", None) or os.environ.get("PYRE_TEST_SERVER") or "pyre"


@pytest.fixture(params=["io thread"] if IS_WINDOWS else ["embedded", "io thread"])
def host(request: pytest.FixtureRequest, server_kind: str) -> str:
    """The default event loop, with the I/O inside it or on a thread of its own: what `serve` takes as `loop`."""
    if request.param == "embedded" or IS_WINDOWS:  # where there is nothing to choose
        return "auto"
    if server_kind != "pyre":
        pytest.skip("pyre only: uvicorn has no I/O threads")
    return "auto+io"


@pytest.fixture(scope="session")
def framework_servers(server_kind: str, sample: Path) -> Iterator[Servers]:
    os.environ["SAMPLE_FILE"] = str(sample)
    os.environ["SAMPLE_DIR"] = str(sample.parent)
    running = Servers(server_kind, HERE / "apps")
    yield running
    running.close()


@pytest.fixture
def serve(framework_servers: Servers) -> Iterator[Callable[..., Server]]:
    used: list[Server] = []

    def start(app: str, *arguments: str, loop: str = "auto") -> Server:
        server = framework_servers.shared(app, *arguments, loop=loop)
        used.append(server)
        return server

    yield start
    for server in used:
        server.check()
