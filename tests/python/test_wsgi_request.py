from __future__ import annotations

import io
from typing import Any

import pyre
import pytest
from pyre.wsgi import PREFETCH_BYTES, ClientDisconnected, build_environ
from wsgi_client import Client, scope_of, serve

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
    assert isinstance(errors[0], pyre.ClientDisconnected)
    assert isinstance(errors[0], ConnectionResetError)
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
