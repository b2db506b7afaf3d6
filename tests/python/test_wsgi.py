from __future__ import annotations

import asyncio
import io
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pyre.wsgi import PREFETCH_BYTES, ClientDisconnected, FileWrapper, WSGIAdapter, build_environ

HANG_GUARD = 20


def scope_of(**changes: Any) -> dict[str, Any]:
    return {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "root_path": "",
        "headers": [],
        "client": ("192.0.2.1", 4321),
        "server": ("127.0.0.1", 8000),
        **changes,
    }


class Client:
    """The server's side of ASGI: pieces of a body to receive, a list of what was sent, a point at which the client
    goes."""

    def __init__(self, pieces: list[bytes] | None = None, gone_after: int | None = None) -> None:
        self.pieces = list(pieces or [])
        self.sent: list[dict[str, Any]] = []
        self.received = 0
        self.gone_after = gone_after
        self.on_send: Callable[[], Any] | None = None

    async def receive(self) -> dict[str, Any]:
        if not self.pieces:
            return {"type": "http.disconnect"}
        self.received += 1
        return {"type": "http.request", "body": self.pieces.pop(0), "more_body": bool(self.pieces)}

    async def send(self, message: dict[str, Any]) -> None:
        if self.gone_after is not None and len(self.sent) >= self.gone_after:
            raise ConnectionResetError("gone")
        self.sent.append(message)
        if self.on_send is not None:
            await self.on_send()

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    @property
    def start(self) -> dict[str, Any]:
        return self.sent[0]


def serve(app: Any, client: Client | None = None, threads: int = 2, **changes: Any) -> Client:
    client = client or Client()

    async def main() -> None:
        adapter = WSGIAdapter(app, threads)
        try:
            await asyncio.wait_for(adapter(scope_of(**changes), client.receive, client.send), HANG_GUARD)
        finally:
            adapter.close()

    asyncio.run(main())
    return client


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


# ---- the request's body


def echo(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [environ["wsgi.input"].read()]


def test_no_body_is_not_waited_for() -> None:
    client = Client()
    assert serve(echo, client).body == b""
    assert client.received == 0


@pytest.mark.parametrize("header", [(b"content-length", b"6"), (b"transfer-encoding", b"chunked")])
def test_a_short_body_is_complete_before_the_application_runs(header: tuple[bytes, bytes]) -> None:
    client = Client([b"abc", b"def"])

    def app(environ: Any, start_response: Any) -> list[bytes]:
        assert client.received == 2
        return echo(environ, start_response)

    assert serve(app, client, headers=[header]).body == b"abcdef"


def test_a_long_body_is_read_on_demand_and_never_held_whole() -> None:
    pieces = [b"x" * 32 * 1024] * 64
    client = Client(list(pieces))
    before: list[int] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        before.append(client.received)
        size = 0
        stream = environ["wsgi.input"]
        while piece := stream.read(10_000):
            size += len(piece)
            assert client.received * 32 * 1024 <= size + 2 * PREFETCH_BYTES + 32 * 1024
        start_response("200 OK", [])
        return [str(size).encode()]

    serve(app, client, headers=[(b"content-length", b"2097152")])
    assert client.body == str(64 * 32 * 1024).encode()
    assert before == [PREFETCH_BYTES // (32 * 1024)]


def test_an_expected_continue_waits_until_the_application_reads() -> None:
    client = Client([b"abc"])

    def app(environ: Any, start_response: Any) -> list[bytes]:
        assert client.received == 0
        return echo(environ, start_response)

    headers = [(b"content-length", b"3"), (b"expect", b"100-continue")]
    assert serve(app, client, headers=headers).body == b"abc"


@pytest.mark.parametrize("size", [10, 200_000])
def test_lines_of_the_input(size: int) -> None:
    line = b"y" * size + b"\n"
    data = line * 3 + b"end"
    client = Client([data[i : i + 16384] for i in range(0, len(data), 16384)])

    def app(environ: Any, start_response: Any) -> list[bytes]:
        stream = environ["wsgi.input"]
        assert stream.readline() == line
        assert list(stream) == [line, line, b"end"]
        assert stream.read(1) == b""
        start_response("200 OK", [])
        return [b"ok"]

    serve(app, client, headers=[(b"content-length", str(len(data)).encode())])
    assert client.body == b"ok"


def test_a_body_that_breaks_off_is_an_error_and_not_an_end() -> None:
    client = Client([b"x" * PREFETCH_BYTES, b"more"])
    client.pieces.append(b"")  # `more` is not the last...
    original = client.receive

    async def receive() -> dict[str, Any]:
        if client.received == 2:
            return {"type": "http.disconnect"}  # ...but nothing comes after it
        return await original()

    client.receive = receive  # type: ignore[method-assign]
    errors: list[BaseException] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        try:
            environ["wsgi.input"].read()
        except OSError as error:
            errors.append(error)
            raise
        return []

    serve(app, client, headers=[(b"content-length", b"100000")])
    assert [type(error) for error in errors] == [ClientDisconnected]
    assert client.sent == []


# ---- the environ


def test_environ() -> None:
    environ = build_environ(
        scope_of(
            method="POST",
            path="/api/ä b",
            raw_path=b"/api/%C3%A4%20b",
            root_path="/api",
            query_string=b"q=%C3%A4",
            headers=[
                (b"host", b"example.com"),
                (b"content-type", b"text/plain"),
                (b"content-length", b"3"),
                (b"x-one", b"1"),
                (b"x-one", b"2"),
                (b"cookie", b"a=1"),
                (b"cookie", b"b=2"),
                (b"x_one", b"spoofed"),
                (b"proxy", b"http://evil"),
                (b"x-latin", "é".encode("latin-1")),
            ],
        ),
        io.BytesIO(),
    )
    assert environ["REQUEST_METHOD"] == "POST"
    assert environ["SCRIPT_NAME"] == "/api"
    assert environ["PATH_INFO"].encode("latin-1").decode() == "/ä b"
    assert environ["QUERY_STRING"] == "q=%C3%A4"
    assert environ["SERVER_PROTOCOL"] == "HTTP/1.1"
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("127.0.0.1", "8000")
    assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == ("192.0.2.1", "4321")
    assert environ["CONTENT_TYPE"] == "text/plain"
    assert environ["CONTENT_LENGTH"] == "3"
    assert "HTTP_CONTENT_TYPE" not in environ
    assert environ["HTTP_HOST"] == "example.com"
    assert environ["HTTP_X_ONE"] == "1,2"
    assert environ["HTTP_COOKIE"] == "a=1; b=2"
    assert "HTTP_PROXY" not in environ
    assert environ["HTTP_X_LATIN"] == "é"
    assert environ["wsgi.version"] == (1, 0)
    assert environ["wsgi.input_terminated"] is True


def test_environ_of_a_unix_socket_has_no_empty_server() -> None:
    environ = build_environ(scope_of(server=("/run/app.sock", None), client=None, scheme="https"), io.BytesIO())
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("localhost", "443")
    assert "REMOTE_ADDR" not in environ


@pytest.mark.parametrize(
    ("root_path", "raw_path", "script_name", "path_info"),
    [
        ("", b"/a", "", "/a"),
        ("/api", b"/api", "/api", ""),
        ("/api", b"/api/a", "/api", "/a"),
        ("/api", b"/apixyz", "/api", "/apixyz"),
        ("/api", b"/other", "/api", "/other"),
    ],
)
def test_script_name_and_path_info(root_path: str, raw_path: bytes, script_name: str, path_info: str) -> None:
    environ = build_environ(scope_of(root_path=root_path, raw_path=raw_path, path=raw_path.decode()), None)
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == (script_name, path_info)


def test_wsgiref_finds_nothing_wrong() -> None:
    validate = pytest.importorskip("wsgiref.validate")

    def app(environ: Any, start_response: Any) -> Any:
        environ["wsgi.input"].read(3)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"abc"]

    client = serve(
        validate.validator(app), Client([b"abc"]), method="POST", headers=[(b"host", b"x"), (b"content-length", b"3")]
    )
    assert client.body == b"abc"


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
