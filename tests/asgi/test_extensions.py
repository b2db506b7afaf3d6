"""pathsend, zerocopysend, trailers and early hints, as the ASGI extensions page has them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

import pytest
from processes import IS_WINDOWS, UNDER_WINE
from serving import Server, wait_until
from wire import Closed, Response, Wire

pytestmark = pytest.mark.pyre_only("uvicorn has none of these on HTTP/1.1")


@pytest.fixture
def server(serve: Callable[..., Server]) -> Server:
    return serve("extensions:app")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.txt"
    path.write_bytes(b"0123456789abcdef")
    return path


def ask(wire: Wire, name: str, method: str = "GET", version: str = "1.1", **given: object) -> Response:
    wire.request(method, f"/{name}?{urlencode(given)}", version=version)
    return wire.response(method)


def cut(wire: Wire, name: str, **given: object) -> None:
    """The answer is not one that a client takes for whole."""
    try:
        assert ask(wire, name, **given).status == 500
    except (Closed, ConnectionResetError):
        pass


# ---- pathsend


@pytest.mark.parametrize("length", [None, 16])
def test_a_file_by_its_path(server: Server, small: Path, length: int | None) -> None:
    given = {} if length is None else {"length": length}
    with server.connect() as wire:
        for _ in range(3):
            response = ask(wire, "pathsend", path=small, **given)
            assert (response.status, response.body) == (200, small.read_bytes())
            assert response.header("content-length") == "16" or length is None


def test_an_empty_file(server: Server, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with server.connect() as wire:
        assert ask(wire, "pathsend", path=tmp_path / "empty").body == b""
        assert ask(wire, "pathsend", path=tmp_path / "empty", length=0).body == b""


def test_a_name_that_is_not_ascii(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "\u00e4 \u4f60.txt"
    path.write_text("named")
    with server.connect() as wire:
        assert ask(wire, "pathsend", path=path).text == "named"


def test_a_file_that_changed_is_sent_as_it_is_now(server: Server, small: Path) -> None:
    with server.connect() as wire:
        assert ask(wire, "pathsend", path=small).body == b"0123456789abcdef"
        time.sleep(1.1)  # files are looked at again at most once a second
        small.write_bytes(b"changed")
        assert ask(wire, "pathsend", path=small).body == b"changed"


def test_head_of_a_file(server: Server, small: Path) -> None:
    with server.connect() as wire:
        for _ in range(2):
            response = ask(wire, "pathsend", "HEAD", path=small, length=16)
            assert (response.status, response.header("content-length"), response.body) == (200, "16", b"")
        assert ask(wire, "pathsend", path=small).body == small.read_bytes()


def test_a_file_for_http_1_0(server: Server, small: Path) -> None:
    with server.connect() as wire:
        assert ask(wire, "pathsend", version="1.0", path=small).body == small.read_bytes()


@pytest.mark.parametrize("kind", ["missing", "directory", "fifo", "device", "forbidden", "socket"])
def test_what_is_not_a_readable_file_raises_in_the_application(server: Server, tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        if IS_WINDOWS:
            pytest.skip("Windows has no fifos in folders")
        os.mkfifo(path)
    elif kind == "device":
        path = Path("NUL" if IS_WINDOWS else "/dev/zero")
    elif kind == "forbidden":
        if IS_WINDOWS or os.geteuid() == 0:
            pytest.skip("nothing is forbidden to root; on Windows an ACL would be needed, which Wine does not keep")
        path.touch(mode=0)
    elif kind == "socket":
        if IS_WINDOWS:
            pytest.skip("Python has no UNIX sockets on Windows")
        import socket

        with socket.socket(socket.AF_UNIX) as unix:
            unix.bind(str(path))
    key = f"{kind}-{server.loop}"
    with server.connect() as wire:
        cut(wire, "pathsend", path=path, key=key)
    name, is_os_error, text = server.wait_for_note(key)[0]
    assert is_os_error or name == "ValueError", name
    assert kind != "missing" or name == "FileNotFoundError"
    assert str(path) in text or repr(str(path))[1:-1] in text or kind == "socket", "the error says which file"


@pytest.mark.parametrize("length", [10, 20])
def test_a_size_that_differs_from_the_content_length(server: Server, small: Path, length: int) -> None:
    key = f"size-{length}-{server.loop}"
    with server.connect() as wire:
        cut(wire, "pathsend", path=small, length=length, key=key)
    name, _, text = server.wait_for_note(key)[0]
    assert name in ("ValueError", "RuntimeError", "OSError"), name
    assert str(length) in text or "16" in text or "Content-Length" in text


@pytest.mark.timeout(120)
def test_a_large_file(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "large"
    block = os.urandom(1 << 20)
    with path.open("wb") as file:
        for i in range(100):
            file.write(i.to_bytes(4, "big") + block[4:])
    before = server.resident_bytes()
    with server.connect() as wire:
        wire.request("GET", f"/pathsend?{urlencode({'path': path, 'length': 100 << 20})}")
        response = wire.head()
        assert response.header("content-length") == str(100 << 20)
        for i in range(100):
            piece = wire.take(1 << 20)
            assert piece[:4] == i.to_bytes(4, "big")
            assert piece[4:] == block[4:]
        assert ask(wire, "early_hint").text == "hinted"
    # Wine 8 never frees the buffer of a TransmitFile: 64 KiB of every 256 KiB.
    lost = 25 << 20 if UNDER_WINE else 0
    assert server.resident_bytes() - before < lost + (16 << 20)


def test_a_large_file_that_nobody_reads_holds_nobody_up(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(100 << 20)
    with server.connect(receive_buffer=65536) as stuck, server.connect() as wire:
        stuck.request("GET", f"/pathsend?{urlencode({'path': path})}")
        stuck.head()
        for _ in range(20):
            assert ask(wire, "early_hint").text == "hinted"
        stuck.reset()
    descriptors = server.descriptors()
    server.get("/early_hint")
    assert server.descriptors() <= descriptors + 1


def test_many_files_at_once(server: Server, tmp_path: Path) -> None:
    wires = [server.connect() for _ in range(40)]
    try:
        for i, wire in enumerate(wires):
            path = tmp_path / str(i)
            path.write_bytes(b"%d," % i * 20_000)
            wire.request("GET", f"/pathsend?{urlencode({'path': path})}")
        for i, wire in enumerate(wires):
            assert wire.response().body == b"%d," % i * 20_000
    finally:
        for wire in wires:
            wire.close()


@pytest.mark.parametrize("size", [1000, 300_000, 5_000_000])
def test_the_server_does_not_depend_on_the_file_after_send(server: Server, tmp_path: Path, size: int) -> None:
    path = tmp_path / "deleted"
    path.write_bytes(b"x" * size)
    with server.connect() as wire:
        assert ask(wire, "deleted", path=path).body == b"x" * size
    wait_until(lambda: not path.exists())  # on Windows with the last handle


@pytest.mark.parametrize(
    "kind", ["before_start", "no_path", "path_is_bytes_nul", "path_is_a_number", "twice", "body_after"]
)
def test_misuse_of_pathsend_raises(server: Server, small: Path, kind: str) -> None:
    key = f"pathsend-{kind}-{server.loop}"
    with server.connect() as wire:
        wire.request("GET", f"/pathsend_misuse?{urlencode({'kind': kind, 'path': small, 'key': key})}")
        try:
            response = wire.response()
            assert response.status == 500 or response.body == small.read_bytes()
        except (Closed, ConnectionResetError):
            pass
    assert server.wait_for_note(key)[0] in ("TypeError", "ValueError", "RuntimeError", "KeyError")


# ---- zerocopysend


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({}, b"0123456789abcdef"),
        ({"offset": 4}, b"456789abcdef"),
        ({"offset": 4, "count": 3}, b"456"),
        ({"offset": 0, "count": 16}, b"0123456789abcdef"),
        ({"count": 0}, b""),
    ],
)
def test_a_part_of_a_file(server: Server, small: Path, given: dict[str, int], part: bytes) -> None:
    with server.connect() as wire:
        for _ in range(2):
            assert ask(wire, "zerocopysend", path=small, **given).body == b"before " + part + b" after"


def test_a_file_is_sent_from_where_it_stands(server: Server, small: Path) -> None:
    """Without an offset; as os.sendfile() has it, it then stands behind what was sent."""
    key = f"position-{server.loop}"
    with server.connect() as wire:
        assert ask(wire, "zerocopysend_file", path=small, key=key).body == b"56789abcdef"
    assert server.wait_for_note(key) == [16]


@pytest.mark.parametrize("kind", ["closed", "none", "text", "negative_offset", "negative_count", "missing"])
def test_misuse_of_zerocopysend_raises(server: Server, small: Path, kind: str) -> None:
    key = f"zerocopy-{kind}-{server.loop}"
    with server.connect() as wire:
        cut(wire, "zerocopysend_misuse", path=small, kind=kind, key=key)
    assert server.wait_for_note(key)[0] in ("TypeError", "ValueError", "KeyError", "OSError", "AttributeError")


# ---- trailers


@pytest.mark.parametrize("given", [{}, {"wait": 1}])
def test_trailers_follow_the_last_chunk(server: Server, given: dict[str, int]) -> None:
    with server.connect() as wire:
        for _ in range(2):
            wire.request("GET", f"/trailers?{urlencode(given)}", [("te", "trailers")])
            response = wire.response()
            assert response.text == "body"
            assert response.header("trailer") == "x-digest, x-count"
            assert response.trailers == [("x-digest", "abc"), ("x-count", "1")]


@pytest.mark.parametrize("given", [{"length": 4}, {"length": 4, "wait": 1}])
def test_trailers_have_no_place_beside_a_content_length(server: Server, given: dict[str, int]) -> None:
    with server.connect() as wire:
        for _ in range(2):
            response = ask(wire, "trailers", **given)
            assert response.text == "body"
            assert response.header("content-length") == "4" or response.trailers


def test_no_trailers_for_http_1_0(server: Server) -> None:
    with server.connect() as wire:
        assert ask(wire, "trailers", version="1.0").body == b"body"


def test_no_trailers_for_head(server: Server) -> None:
    with server.connect() as wire:
        assert ask(wire, "trailers", "HEAD").body == b""
        assert ask(wire, "trailers").text == "body"


@pytest.mark.parametrize("kind", ["framing", "injection", "text", "bad_name", "not_announced", "body_after", "twice"])
def test_misuse_of_trailers_raises(server: Server, kind: str) -> None:
    key = f"trailers-{kind}-{server.loop}"
    with server.connect() as wire:
        wire.request("GET", f"/trailer_misuse?{urlencode({'kind': kind, 'key': key})}", [("te", "trailers")])
        try:
            response = wire.response()
            assert response.trailers in ([], [("x-a", "b")])
        except (Closed, ConnectionResetError):
            pass
    assert server.wait_for_note(key)[0] in ("TypeError", "ValueError", "RuntimeError")


def test_trailers_that_never_come_cut_the_response(server: Server) -> None:
    with server.connect() as wire:
        wire.request("GET", "/trailers_forgotten", [("te", "trailers")])
        with pytest.raises((Closed, ConnectionResetError)):
            wire.response()


# ---- early hints


def test_early_hints_come_before_the_response(server: Server) -> None:
    with server.connect() as wire:
        for _ in range(2):
            response = ask(wire, "early_hint")
            assert response.text == "hinted"
            assert [hint.status for hint in response.informational] == [103] * 3
            links = [hint.all("link") for hint in response.informational]
            assert links[:2] == [["</a.css>; rel=preload; as=style"], ["</b.js>; rel=preload; as=script"]]
            assert ", ".join(links[2]) == "</c>; rel=preconnect, </d>; rel=preconnect"


def test_early_hints_are_not_held_back(server: Server) -> None:
    with server.connect() as wire:
        wire.request("GET", "/early_hint")
        assert wire.head().status == 103


def test_no_early_hints_for_http_1_0(server: Server) -> None:
    with server.connect() as wire:
        response = ask(wire, "early_hint", version="1.0")
        assert (response.text, response.informational) == ("hinted", [])


@pytest.mark.parametrize("kind", ["injection", "text", "number", "missing", "after_start"])
def test_misuse_of_early_hints_raises(server: Server, kind: str) -> None:
    key = f"hint-{kind}-{server.loop}"
    with server.connect() as wire:
        wire.request("GET", f"/early_hint_misuse?{urlencode({'kind': kind, 'key': key})}")
        try:
            response = wire.response()
            assert response.header("x-injected") is None
            assert response.text == "recovered" or response.status == 500
        except (Closed, ConnectionResetError):
            assert kind == "after_start"
    assert server.wait_for_note(key)[0] in ("TypeError", "ValueError", "RuntimeError", "KeyError")
