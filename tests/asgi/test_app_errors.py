"""Applications that fail or misuse send(): the client can tell, the log says why, and the stream is never corrupted."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from serving import Server
from wire import Closed, Response, Wire, encode

sys.path.insert(0, str(Path(__file__).parent / "apps"))


@pytest.fixture
def server(serve: Callable[..., Server]) -> Server:
    return serve("errors:app")


@pytest.mark.parametrize("path", ["/before", "/later", "/returns_early?nothing"])
def test_an_error_before_the_start_is_a_500(server: Server, path: str) -> None:
    with server.connect() as wire:
        wire.request("GET", path)
        response = wire.response()
        assert response.status == 500
        assert "Traceback" not in response.text and "before the start" not in response.text
        if response.header("connection") == "close":
            assert wire.closed()
    if not path.startswith("/returns"):
        output = server.wait_for_output("before the start")
        assert "Traceback (most recent call last)" in output
        assert "errors.py" in output


def test_a_500_is_framed_so_that_the_connection_can_go_on(server: Server) -> None:
    with server.connect() as wire:
        wire.request("GET", "/before")
        response = wire.response()
        assert response.status == 500
        assert response.header("content-length") is not None or response.header("connection") == "close"


def test_head_of_an_error(server: Server) -> None:
    with server.connect() as wire:
        wire.request("HEAD", "/before")
        assert wire.response("HEAD").status == 500
        assert wire.buffer == b""


@pytest.mark.parametrize("path", ["/after_start", "/after_some", "/returns_early?some"])
def test_an_error_after_the_start_cuts_the_connection(server: Server, path: str) -> None:
    """A client must not take half an answer for a whole one."""
    with server.connect() as wire:
        wire.request("GET", path)
        with pytest.raises((Closed, ConnectionResetError)):
            wire.response()
    if path.startswith("/after"):
        server.wait_for_output("RuntimeError: after")


@pytest.mark.pyre_only("uvicorn ends the response")
def test_a_start_without_a_body_is_not_an_answer(server: Server) -> None:
    with server.connect() as wire:
        wire.request("GET", "/returns_early?start")
        try:
            response = wire.response()
            assert response.status == 500
        except (Closed, ConnectionResetError):
            pass


def test_an_error_after_the_response_does_not_change_it(server: Server) -> None:
    with server.connect() as wire:
        wire.request("GET", "/after_all")
        assert wire.response().text == "complete"
        server.wait_for_output("RuntimeError: after the response")


def test_a_value_that_is_returned_does_not_matter(server: Server) -> None:
    assert server.get("/returns_a_value").text == "complete"


@pytest.mark.parametrize("path", ["/base_exception", "/cancels_itself"])
def test_other_ends_of_an_application_are_answered_too(server: Server, path: str) -> None:
    with server.connect() as wire:
        wire.request("GET", path)
        try:
            assert wire.response().status == 500
        except (Closed, ConnectionResetError):
            assert path != "/base_exception" or server.kind == "uvicorn"
    assert server.get("/returns_a_value").text == "complete"


def test_an_error_with_the_body_unread_is_still_delivered(server: Server) -> None:
    with server.connect() as wire:
        wire.request("POST", "/leaves_body", body=b"x" * 40_000)
        assert wire.response().status == 500


def test_errors_of_many_requests(server: Server) -> None:
    for _ in range(30):
        assert server.get("/before").status == 500
    assert server.get("/returns_a_value").text == "complete"


# ---- misuse


def names(after_the_start: bool) -> list[str]:
    import errors

    late = {
        name
        for name, function in errors.MISUSE.items()
        if getattr(function, "__module__", "") and function.__name__ != "send_it"
    }
    return sorted(name for name in errors.MISUSE if (name in late) == after_the_start)


def misuse(server: Server, name: str) -> tuple[Response | None, tuple[str, str], Wire]:
    key = f"{name}-{server.loop}"
    wire = server.connect()
    with wire:
        wire.request("GET", f"/caught?{name},{key}")
        try:
            response = wire.response()
        except (Closed, ConnectionResetError):
            response = None
    noted = server.wait_for_note(key)[-1]
    return response, noted, wire


@pytest.mark.pyre_only("uvicorn checks less")
@pytest.mark.parametrize("name", names(False))
def test_a_wrong_event_raises_and_reaches_nobody(server: Server, name: str) -> None:
    response, (error, text), _ = misuse(server, name)
    assert error in ("TypeError", "ValueError", "RuntimeError", "KeyError"), f"{error}: {text}"
    assert len(text) >= 10, "the error says what is wrong"
    assert response is not None, "a start that was refused is no start: the application can still answer"
    assert (response.status, response.text) == (200, "recovered")
    assert response.header("x-injected") is None


@pytest.mark.pyre_only("uvicorn checks less")
@pytest.mark.parametrize("name", names(True))
def test_misuse_after_the_start_raises_and_cannot_be_taken_for_an_answer(server: Server, name: str) -> None:
    response, (error, text), _ = misuse(server, name)
    assert error in ("TypeError", "ValueError", "RuntimeError"), f"{error}: {text}"
    assert len(text) >= 10
    if name.endswith("after_end"):
        assert response is not None
        assert response.text == "complete"
    else:
        assert response is None or response.status == 500, "cut, or if nothing was sent yet a 500"


@pytest.mark.parametrize("name", ["two_starts", "body_before_start", "body_after_end", "too_long", "too_short"])
def test_misuse_that_uvicorn_refuses_too(server: Server, name: str) -> None:
    _, (error, _), _ = misuse(server, name)
    assert error in ("RuntimeError", "TypeError", "ValueError")


def test_an_error_that_is_swallowed_leaves_a_correct_stream(server: Server) -> None:
    if server.kind == "uvicorn":
        pytest.skip("it takes text for a body")
    with server.connect() as wire:
        for _ in range(2):
            wire.request("GET", "/swallow")
            response = wire.response()
            assert (response.status, response.text) == (200, "right answer")


def test_the_pipelined_request_after_a_misuse_is_answered_or_refused_never_mixed(server: Server) -> None:
    if server.kind == "uvicorn":
        pytest.skip("it answers on")
    with server.connect() as wire:
        wire.send(encode("GET", "/caught?too_short,mixed") + encode("GET", "/returns_a_value"))
        received = b""
        try:
            received = wire.rest()
        except ConnectionResetError:
            pass
        assert b"complete" not in received


def test_receive_may_be_called_anywhere_and_runs_on_the_loop(server: Server) -> None:
    with server.connect() as wire:
        wire.request("POST", "/from_a_thread", body=b"x" * 100_000)
        response = wire.response()
        assert (response.status, len(response.body)) == (200, 100_000)


@pytest.mark.pyre_only("uvicorn does not look at the thread")
def test_send_and_receive_in_a_foreign_thread_raise(server: Server) -> None:
    assert ast.literal_eval(server.get("/foreign_thread").text) == ["RuntimeError", "RuntimeError"]
