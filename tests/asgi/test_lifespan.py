"""The lifespan protocol: auto, on, off; start-up that fails; state; the order of things at the end."""

from __future__ import annotations

import ast
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from serving import Server, Servers, StartError

Start = Callable[..., AbstractContextManager[Server]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "lifespan"
    path.touch()
    return path


@pytest.fixture
def start(servers: Servers, loop: str, file: Path) -> Iterator[Start]:
    def with_app(name: str, *arguments: str) -> AbstractContextManager[Server]:
        return servers.private(f"lifespans:{name}", *arguments, loop=loop, environment={"LIFESPAN_FILE": str(file)})

    yield with_app


def state_of(server: Server, path: str = "/") -> object:
    return ast.literal_eval(server.get(path).text)


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_startup_before_the_first_request_and_shutdown_after_the_last(start: Start, file: Path, mode: str) -> None:
    with start("complete", "--lifespan", mode) as server:
        assert file.read_text() == "startup\n"
        assert server.get("/").status == 200
        assert server.stop() == 0 or server.kind == "uvicorn"
        server_output = server.output()
    assert file.read_text() == "startup\nshutdown\nend\n"
    assert "Traceback" not in server_output


def test_running_requests_end_before_the_shutdown(start: Start, file: Path) -> None:
    with start("complete") as server, server.connect() as wire:
        wire.request("GET", "/slow")
        until = time.monotonic() + 20
        while "request" not in file.read_text() and time.monotonic() < until:
            time.sleep(0.01)
        server.tell_to_stop()
        assert wire.response().status == 200
        server.wait()
    assert file.read_text().split() == ["startup", "request", "answered", "shutdown", "end"]


def test_no_connection_is_served_before_startup_is_complete(start: Start, file: Path) -> None:
    with start("slow_start") as server:
        assert server.get("/").status == 200
    assert file.read_text().split() == ["started", "request"]


def test_state_is_copied_for_each_request(start: Start) -> None:
    with start("complete") as server:
        assert state_of(server) == {"number": 1}
        assert state_of(server, "/write") == {"number": 2, "own": True}
        assert state_of(server, "/write") == {"number": 2, "own": True}
        assert state_of(server) == {"number": 1}
        assert state_of(server, "/shared") == [1, 1], "a shallow copy: what is in it is shared"


def test_context_variables_of_the_lifespan(start: Start) -> None:
    """Each request starts from the context that the server was started with, not from the lifespan task's."""
    with start("complete") as server:
        assert server.get("/variable").text in ("unset", "from lifespan")


@pytest.mark.parametrize("name", ["raises", "raises_after_receive", "returns"])
def test_auto_goes_on_without_a_lifespan(start: Start, name: str) -> None:
    with start(name) as server:
        assert state_of(server) in ({}, None)
        assert server.stop() == 0 or server.kind == "uvicorn"
        assert "Traceback" not in server.output()


@pytest.mark.parametrize("name", ["raises", "raises_after_receive"])
def test_on_insists_on_a_lifespan(start: Start, name: str) -> None:
    with pytest.raises(StartError) as caught, start(name, "--lifespan", "on"):
        pass
    assert caught.value.exit_code == 3
    assert "no lifespan here" in caught.value.output


def test_off_does_not_ask(start: Start, file: Path) -> None:
    with start("not_asked", "--lifespan", "off") as server:
        assert state_of(server) in ({}, None)
    assert file.read_text() == ""


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_a_startup_that_fails_ends_the_server_with_3(start: Start, mode: str) -> None:
    with pytest.raises(StartError) as caught, start("fails", "--lifespan", mode):
        pass
    assert caught.value.exit_code == 3
    assert "the database is away" in caught.value.output


def test_a_shutdown_that_fails_is_told(start: Start) -> None:
    with start("fails_to_stop") as server:
        assert state_of(server) == {}
        server.stop()
        assert "could not say goodbye" in server.output()


def test_on_refuses_a_wrong_message(start: Start) -> None:
    with pytest.raises(StartError) as caught, start("wrong_message", "--lifespan", "on"):
        pass
    assert caught.value.exit_code == 3


def test_a_factory(start: Start) -> None:
    with start("factory", "--factory") as server:
        assert server.get("/").text == "a factory's"
