from __future__ import annotations

import asyncio
import io
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from pyre.wsgi import ClientDisconnected, FileWrapper, WSGIAdapter
from wsgi_client import HANG_GUARD, Client, scope_of, serve


def test_a_list_of_one_piece_is_one_final_message() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("201 Created", [("Content-Type", "text/plain"), ("X-Name", "é")])
        return [b"hello"]

    client = serve(app)
    assert client.sent == [
        {
            "type": "http.response.start",
            "status": 201,
            "headers": [(b"content-type", b"text/plain"), (b"x-name", "é".encode("latin-1"))],
        },
        {"type": "http.response.body", "body": b"hello", "more_body": False},
    ]


def test_pieces_are_sent_as_they_come() -> None:
    seen: list[int] = []
    client = Client()

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        for number in range(3):
            yield b"" if number == 1 else b"%d" % number
            seen.append(len(client.sent))

    serve(app, client)
    assert client.body == b"02"
    assert seen == [2, 2, 3]  # the start came with the first piece; an empty piece is nothing
    assert [m["more_body"] for m in client.sent[1:]] == [True, True, False]


def test_the_last_piece_is_known_by_the_content_length() -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Length", "4")])
        yield b"ab"
        yield b"cd"

    assert [m["more_body"] for m in serve(app).sent[1:]] == [True, False]


def test_an_empty_answer() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("204 No Content", [])
        return []

    client = serve(app)
    assert [m["type"] for m in client.sent] == ["http.response.start", "http.response.body"]
    assert client.sent[1]["more_body"] is False


def test_write_sends_at_once_and_comes_before_the_result() -> None:
    client = Client()

    def app(environ: Any, start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [])
        write(b"first ")
        assert client.body == b"first "
        write(b"second ")
        return [b"third"]

    assert serve(app, client).body == b"first second third"
    assert client.sent[-1]["more_body"] is False


def test_start_response_may_change_its_mind_until_the_first_byte() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("x", "1")])
        try:
            raise ValueError("late trouble")
        except ValueError:
            start_response("500 Oops", [("x", "2")], sys.exc_info())
        return [b"sorry"]

    client = serve(app)
    assert (client.start["status"], client.start["headers"]) == (500, [(b"x", b"2")])


def test_start_response_with_exc_info_after_the_first_byte_raises_it() -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"begun"
        try:
            raise ValueError("late trouble")
        except ValueError:
            start_response("500 Oops", [], sys.exc_info())

    client = Client()
    with pytest.raises(ValueError, match="late trouble"):
        serve(app, client)
    assert client.sent[-1]["more_body"] is True  # the server will cut the connection


def test_a_second_start_response_without_exc_info_is_an_error() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        start_response("200 OK", [])
        return []

    with pytest.raises(AssertionError, match="twice"):
        serve(app)


def _no_start(environ: Any, start_response: Any) -> list[bytes]:
    return [b"body"]


def _text_body(environ: Any, start_response: Any) -> list[Any]:
    start_response("200 OK", [])
    return ["text"]


def _bad_status(environ: Any, start_response: Any) -> list[bytes]:
    start_response("okay", [])
    return []


def _too_long(environ: Any, start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", [("content-length", "2")])
    yield b"ab"
    yield b"c"


def _raises(environ: Any, start_response: Any) -> list[bytes]:
    raise KeyError("x")


def _exits(environ: Any, start_response: Any) -> list[bytes]:
    raise SystemExit(1)


@pytest.mark.parametrize(
    ("app", "error"),
    [
        (_no_start, RuntimeError),
        (_text_body, TypeError),
        (_bad_status, ValueError),
        (_too_long, RuntimeError),
        (_raises, KeyError),
        (_exits, RuntimeError),
    ],
)
def test_what_goes_wrong_in_the_application_is_raised(app: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        serve(app)


class Closing:
    def __init__(self, pieces: list[bytes], events: list[str], fail: bool = False) -> None:
        self.pieces = pieces
        self.events = events
        self.fail = fail

    def __iter__(self) -> Iterator[bytes]:
        yield from self.pieces

    def close(self) -> None:
        self.events.append("close")
        if self.fail:
            raise ValueError("in close")


def test_close_is_called_after_the_last_byte_was_sent() -> None:
    events: list[str] = []
    client = Client()

    async def on_send() -> None:
        events.append("send")

    client.on_send = on_send

    def app(environ: Any, start_response: Any) -> Closing:
        start_response("200 OK", [("content-length", "3")])
        return Closing([b"abc"], events)

    serve(app, client)
    assert sorted(events) == ["close", "send", "send"]
    assert client.sent[-1]["more_body"] is False


@pytest.mark.parametrize("gone_after", [None, 0, 2])
def test_close_is_called_whatever_happens(gone_after: int | None) -> None:
    events: list[str] = []

    def app(environ: Any, start_response: Any) -> Closing:
        start_response("200 OK", [])
        return Closing([b"a", b"b", b"c"], events)

    serve(app, Client(gone_after=gone_after))
    assert events == ["close"]


def test_an_error_in_close_is_raised() -> None:
    def app(environ: Any, start_response: Any) -> Closing:
        start_response("200 OK", [])
        return Closing([b"a"], [], fail=True)

    with pytest.raises(ValueError, match="in close"):
        serve(app)


def test_a_client_that_went_away_ends_an_endless_answer() -> None:
    produced = 0

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        nonlocal produced
        start_response("200 OK", [])
        while True:
            produced += 1
            yield b"x"

    serve(app, Client(gone_after=5))
    assert produced == 5


def test_write_tells_the_application_that_the_client_went_away() -> None:
    caught: list[BaseException] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [])
        try:
            for _ in range(100):
                write(b"x")
        except OSError as error:
            caught.append(error)
        return []

    serve(app, Client(gone_after=3))
    assert [type(error) for error in caught] == [ClientDisconnected]


def test_a_slow_client_holds_the_application_back() -> None:
    produced = 0
    ahead: list[int] = []
    client = Client()

    async def on_send() -> None:
        await asyncio.sleep(0.001)
        ahead.append(produced - len(client.sent) + 1)

    client.on_send = on_send

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        nonlocal produced
        start_response("200 OK", [])
        for _ in range(20):
            produced += 1
            yield b"x"

    serve(app, client)
    assert max(ahead) <= 1


def test_a_cancelled_request_ends_its_thread() -> None:
    ended = threading.Event()

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        try:
            while True:
                yield b"x"
        finally:
            ended.set()

    async def main() -> None:
        adapter = WSGIAdapter(app, 1)
        client = Client()
        begun = asyncio.Event()

        async def on_send() -> None:
            begun.set()

        client.on_send = on_send
        task = asyncio.ensure_future(adapter(scope_of(), client.receive, client.send))
        await asyncio.wait_for(begun.wait(), HANG_GUARD)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert ended.wait(HANG_GUARD)


def test_file_wrapper_reads_in_blocks_and_closes() -> None:
    file = io.BytesIO(b"x" * 150_000)

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](file, 65536)

    client = serve(app)
    assert len(client.body) == 150_000
    assert len(client.sent) == 1 + 3 + 1
    assert file.closed
    assert not hasattr(FileWrapper(object()), "close")


def test_other_scopes_are_refused() -> None:
    with pytest.raises(RuntimeError, match="lifespan"):
        asyncio.run(WSGIAdapter(_raises)({"type": "lifespan"}, None, None))  # type: ignore[arg-type]


def test_at_most_so_many_threads_run_at_once() -> None:
    running = 0
    most = 0
    lock = threading.Lock()
    names: set[str] = set()

    def app(environ: Any, start_response: Any) -> list[bytes]:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            names.add(threading.current_thread().name)
        threading.Event().wait(0.01)
        with lock:
            running -= 1
        start_response("200 OK", [])
        return [b"ok"]

    async def main() -> list[Client]:
        adapter = WSGIAdapter(app, 3)
        clients = [Client() for _ in range(12)]
        await asyncio.wait_for(asyncio.gather(*(adapter(scope_of(), c.receive, c.send) for c in clients)), HANG_GUARD)
        adapter.close()
        return clients

    assert all(client.body == b"ok" for client in asyncio.run(main()))
    assert most == 3
    assert len(names) == 3


def test_context_variables_reach_the_thread_and_stay_with_the_request() -> None:
    import contextvars

    variable = contextvars.ContextVar("variable", default="none")

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        value = variable.get()
        variable.set("changed")
        return [value.encode()]

    variable.set("outer")
    assert serve(app).body == b"outer"
    assert serve(app).body == b"outer"
