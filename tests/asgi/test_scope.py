"""What an application finds in its scope (ASGI HTTP connection scope, spec_version 2.5)."""

from __future__ import annotations

import ast
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from processes import IS_WINDOWS
from serving import Server, Servers
from wire import Wire


@pytest.fixture
def server(serve: Callable[..., Server]) -> Server:
    return serve("basic:app")


def scope_of(wire: Wire, request: bytes) -> dict[str, Any]:
    wire.send(request)
    response = wire.response()
    assert response.status == 200, response
    scope: dict[str, Any] = ast.literal_eval(response.text)
    return scope


def test_every_key_has_the_type_that_the_specification_says(server: Server) -> None:
    with server.connect() as wire:
        scope = scope_of(
            wire,
            b"POST /scope/a%20b/%E4%BD%A0?x=%201&y HTTP/1.1\r\nHost: Example.org:80\r\nX-Mixed: One\r\n"
            b"x-mixed:  two words\r\nX-Latin: caf\xe9\r\nX-Empty:\r\nContent-Length: 0\r\n\r\n",
        )
        client, peer = wire.socket.getsockname(), wire.socket.getpeername()
    assert scope["type"] == "http"
    assert scope["asgi"]["version"] == "3.0"
    assert tuple(map(int, scope["asgi"]["spec_version"].split("."))) >= (2, 3)
    assert scope["http_version"] == "1.1"
    assert scope["method"] == "POST"
    assert scope["scheme"] == "http"
    assert scope["path"] == "/scope/a b/\u4f60"
    assert scope["raw_path"] == b"/scope/a%20b/%E4%BD%A0"
    assert scope["query_string"] == b"x=%201&y"
    assert scope["root_path"] == ""
    assert [tuple(pair) for pair in scope["headers"]] == [
        (b"host", b"Example.org:80"),
        (b"x-mixed", b"One"),
        (b"x-mixed", b"two words"),
        (b"x-latin", b"caf\xe9"),
        (b"x-empty", b""),
        (b"content-length", b"0"),
    ]
    assert tuple(scope["client"]) == client
    assert tuple(scope["server"]) == peer
    assert type(scope["client"][1]) is int
    assert type(scope["server"][1]) is int


@pytest.mark.pyre_only("uvicorn keeps blanks after a value, which RFC 9110 5.5 excludes")
def test_header_values_have_no_blanks_around_them(server: Server) -> None:
    with server.connect() as wire:
        scope = scope_of(wire, b"GET /scope HTTP/1.1\r\nHost: x\r\nX-A: \t two  words \t\r\nX-B: \t \r\n\r\n")
    assert [tuple(pair) for pair in scope["headers"][1:]] == [(b"x-a", b"two  words"), (b"x-b", b"")]


@pytest.mark.pyre_only("uvicorn has no extensions on HTTP/1.1, and spec_version 2.3")
def test_spec_version_and_extensions(server: Server) -> None:
    with server.connect() as wire:
        scope = scope_of(wire, b"GET /scope HTTP/1.1\r\nHost: x\r\n\r\n")
    assert scope["asgi"]["spec_version"] == "2.5"
    # `debug` would make Starlette's test client code send template contexts.
    assert scope["extensions"] == {
        "http.response.pathsend": {},
        "http.response.zerocopysend": {},
        "http.response.trailers": {},
        "http.response.early_hint": {},
    }


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_http_version(server: Server, version: str) -> None:
    with server.connect() as wire:
        assert scope_of(wire, f"GET /scope HTTP/{version}\r\nHost: x\r\n\r\n".encode())["http_version"] == version


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
def test_method(server: Server, method: str) -> None:
    with server.connect() as wire:
        assert scope_of(wire, f"{method} /scope HTTP/1.1\r\nHost: x\r\n\r\n".encode())["method"] == method


@pytest.mark.parametrize(
    ("target", "path", "raw_path", "query"),
    [
        ("/scope", "/scope", b"/scope", b""),
        ("/scope?", "/scope", b"/scope", b""),
        ("/scope/%2F%3f%25", "/scope//?%", b"/scope/%2F%3f%25", b""),
        ("/scope/%zz%4", "/scope/%zz%4", b"/scope/%zz%4", b""),
        ("/scope/%C3%28", "/scope/\ufffd(", b"/scope/%C3%28", b""),
        ("/scope/a+b?c+d?e=%2F", "/scope/a+b", b"/scope/a+b", b"c+d?e=%2F"),
        ("/scope/../..//x", "/scope/../..//x", b"/scope/../..//x", b""),
        ("http://other.example:81/scope/x?q", "/scope/x", b"/scope/x", b"q"),
    ],
)
def test_target(server: Server, target: str, path: str, raw_path: bytes, query: bytes) -> None:
    with server.connect() as wire:
        scope = scope_of(wire, f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == (path, raw_path, query)


def test_a_scope_is_one_requests_own(server: Server) -> None:
    with server.connect() as wire:
        wire.request("GET", "/spoil")
        assert wire.response().text == "done"
        assert "spoiled" not in repr(scope_of(wire, b"GET /scope HTTP/1.1\r\nHost: x\r\n\r\n"))


def test_root_path_is_part_of_the_path(serve: Callable[..., Server]) -> None:
    server = serve("routed:app", "--root-path", "/api/v1")
    with server.connect() as wire:
        scope = scope_of(wire, b"GET /scope%20/x HTTP/1.1\r\nHost: x\r\n\r\n")
    assert scope["root_path"] == "/api/v1"
    assert scope["path"] == "/api/v1/scope /x"
    assert scope["raw_path"] == b"/api/v1/scope%20/x"


def test_ipv6_addresses_are_pairs(servers: Servers, loop: str) -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6 here")
    with servers.private("basic:app", loop=loop, host="::1") as server, server.connect() as wire:
        scope = scope_of(wire, b"GET /scope HTTP/1.1\r\nHost: x\r\n\r\n")
        assert tuple(scope["client"]) == wire.socket.getsockname()[:2]
        assert tuple(scope["server"]) == wire.socket.getpeername()[:2]


@pytest.mark.skipif(IS_WINDOWS, reason="Python has no UNIX sockets on Windows")
def test_a_unix_peer_has_no_address(servers: Servers, loop: str, tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with servers.private("basic:app", loop=loop, uds=path) as server, server.connect() as wire:
        scope = scope_of(wire, b"GET /scope HTTP/1.1\r\nHost: x\r\n\r\n")
        assert scope["client"] is None
        assert scope["server"] is None or tuple(scope["server"]) == (path, None)


def test_a_trusted_proxy_names_client_and_scheme(server: Server) -> None:
    with server.connect() as wire:
        scope = scope_of(
            wire,
            b"GET /scope HTTP/1.1\r\nHost: x\r\n"
            b"X-Forwarded-For: 6.6.6.6, 1.2.3.4:1024\r\nX-Forwarded-Proto: https\r\n\r\n",
        )
        assert tuple(scope["client"]) == ("1.2.3.4", 1024)
        assert scope["scheme"] == "https"
        # The next request on the same connection is another client's.
        scope = scope_of(wire, b"GET /scope HTTP/1.1\r\nHost: x\r\n\r\n")
        assert tuple(scope["client"]) == wire.socket.getsockname()
        assert scope["scheme"] == "http"


@pytest.mark.pyre_only("uvicorn knows no Forwarded")
def test_a_trusted_proxy_speaks_rfc_7239(server: Server) -> None:
    with server.connect() as wire:
        scope = scope_of(
            wire, b'GET /scope HTTP/1.1\r\nHost: x\r\nForwarded: for="[2001:db8::1]:80";proto=https\r\n\r\n'
        )
        assert (tuple(scope["client"]), scope["scheme"]) == (("2001:db8::1", 80), "https")
        scope = scope_of(wire, b"GET /scope HTTP/1.1\r\nHost: x\r\nForwarded: for=_secret;proto=https\r\n\r\n")
        assert tuple(scope["client"]) == ("_secret", 0)


def test_a_peer_that_is_not_trusted_is_the_client(serve: Callable[..., Server]) -> None:
    server = serve("basic:app", "--forwarded-allow-ips", "10.0.0.1")
    with server.connect() as wire:
        scope = scope_of(
            wire, b"GET /scope HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\n\r\n"
        )
        assert tuple(scope["client"]) == wire.socket.getsockname()
        assert scope["scheme"] == "http"


def test_proxy_headers_can_be_turned_off(serve: Callable[..., Server]) -> None:
    server = serve("basic:app", "--no-proxy-headers")
    with server.connect() as wire:
        scope = scope_of(wire, b"GET /scope HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n")
        assert tuple(scope["client"]) == wire.socket.getsockname()


@pytest.mark.pyre_only("uvicorn answers 400")
def test_asterisk_form(serve: Callable[..., Server]) -> None:
    server = serve("routed:app")
    with server.connect() as wire:
        scope = scope_of(wire, b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (scope["method"], scope["path"], scope["raw_path"]) == ("OPTIONS", "*", b"*")
