"""`--static`: files that are answered without the application."""

from __future__ import annotations

import gzip
import os
import random
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from email.message import Message
from email.parser import BytesParser
from pathlib import Path

import pytest
from processes import IS_WINDOWS
from serving import DETACHED, Server, Servers, is_installed, python_hangs, wait_until
from wire import Closed, Response, Wire, encode

pytestmark = pytest.mark.pyre_only("uvicorn serves no files")

not_on_windows = pytest.mark.skipif(IS_WINDOWS, reason="Windows has no such file, or asks for a privilege to make one")

THEN = 1_000_000_000
THEN_TEXT = "Sun, 09 Sep 2001 01:46:40 GMT"
CSS = b"body { color: black }\n" * 50
LARGE = random.Random(5).randbytes(5 << 20)


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is served below /static. Tests add files of their own names, and change none of these."""
    folder = tmp_path_factory.mktemp("static")
    (folder.parent / "secret.txt").write_bytes(b"secret")
    root = folder / "root"
    (root / "sub").mkdir(parents=True)
    (root / "empty-folder").mkdir()
    (folder / "secret.txt").write_bytes(b"secret")
    files = {
        "digits.txt": b"0123456789",
        "style.css": CSS,
        "style.css.gz": gzip.compress(CSS),
        "style.css.br": b"pretends to be brotli",
        "large.bin": LARGE,
        "empty": b"",
        "sub/index.html": b"<p>index",
        "sub/a b+c.txt": b"blank",
        "über.txt": "über".encode(),
        ".env": b"secret",
        "sub/.hidden": b"secret",
    }
    for name, data in files.items():
        (root / name).write_bytes(data)
        os.utime(root / name, (THEN, THEN))
    return root


@pytest.fixture
def server(serve: Callable[..., Server], root: Path) -> Server:
    return serve("basic:app", "--static", f"/static={root}")


@pytest.fixture
def place(root: Path) -> Iterator[Path]:
    """A folder below the root for one test's own files; of a new name, as the server keeps what a name led to."""
    place = Path(tempfile.mkdtemp(prefix="place-", dir=root))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place, ignore_errors=IS_WINDOWS)  # a file that the server holds open keeps its folder there


def get(wire: Wire, path: str, *headers: tuple[str, str], method: str = "GET") -> Response:
    wire.request(method, path, headers)
    return wire.response(method)


def one(server: Server, path: str, *headers: tuple[str, str], method: str = "GET") -> Response:
    with server.connect() as wire:
        return get(wire, path, *headers, method=method)


# ---- files


def test_a_small_file(server: Server) -> None:
    with server.connect() as wire:
        for _ in range(3):
            response = get(wire, "/static/digits.txt")
            assert (response.status, response.body) == (200, b"0123456789")
            assert response.header("content-length") == "10"
            assert response.header("content-type") == "text/plain; charset=utf-8"
            assert response.header("last-modified") == THEN_TEXT
            assert response.header("accept-ranges") == "bytes"
            assert response.header("x-content-type-options") == "nosniff"
            assert response.header("vary") is None
            assert response.header("cache-control") is None
            etag = response.header("etag")
            assert etag is not None and etag.startswith('"')


def test_a_large_file(server: Server) -> None:
    with server.connect() as wire:
        for _ in range(2):
            response = get(wire, "/static/large.bin")
            assert response.header("content-type") == "application/octet-stream"
            assert response.body == LARGE


def test_an_empty_file(server: Server) -> None:
    response = one(server, "/static/empty", ("range", "bytes=0-"))
    assert (response.status, response.body) == (200, b"")


@pytest.mark.parametrize("name", ["digits.txt", "large.bin"])
def test_head_is_get_without_the_body(server: Server, name: str) -> None:
    with server.connect() as wire:
        whole = get(wire, f"/static/{name}")
        head = get(wire, f"/static/{name}", ("range", "bytes=0-3"), method="HEAD")
        assert head.status == 200
        assert head.body == b""
        assert [h for h in head.headers if h[0] != "date"] == [h for h in whole.headers if h[0] != "date"]


@pytest.mark.parametrize("path", ["sub/a%20b+c.txt", "sub/%61 b+c.txt".replace(" ", "%20"), "sub%2Fa%20b%2bc.txt"])
def test_escapes_are_decoded_once(server: Server, path: str) -> None:
    assert one(server, f"/static/{path}").body == b"blank"


def test_names_are_utf_8(server: Server) -> None:
    assert one(server, "/static/%C3%BCber.txt").text == "über"


def test_the_query_does_not_matter(server: Server) -> None:
    assert one(server, "/static/digits.txt?v=1&x=/../..").body == b"0123456789"


def test_the_application_does_not_know(server: Server) -> None:
    with server.connect() as wire:
        before = server.journal("scope")
        get(wire, "/static/digits.txt")
        get(wire, "/static/none")
        assert server.journal("scope") == before
        assert get(wire, "/hello").text == "Hello, world!"
        assert get(wire, "/staticx").status == 404  # the application's


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE"])
def test_other_methods_are_refused(server: Server, method: str) -> None:
    with server.connect() as wire:
        wire.request(method, "/static/digits.txt", body=b"x" * 1000 if method != "TRACE" else None)
        response = wire.response()
        assert response.status == 405
        assert response.header("allow") == "GET, HEAD, OPTIONS"
        assert get(wire, "/static/digits.txt").status == 200


def test_options_names_the_methods(server: Server) -> None:
    response = one(server, "/static/digits.txt", method="OPTIONS")
    assert (response.status, response.header("allow")) == (204, "GET, HEAD, OPTIONS")


# ---- conditions


def test_what_the_client_has_is_not_sent_again(server: Server) -> None:
    with server.connect() as wire:
        etag = get(wire, "/static/style.css").header("etag")
        assert etag is not None
        for condition in [
            ("if-none-match", etag),
            ("if-none-match", f'"x", W/{etag}'),
            ("if-none-match", "*"),
            ("if-modified-since", THEN_TEXT),
            ("if-modified-since", "Sun Sep  9 01:46:40 2001"),
        ]:
            response = get(wire, "/static/style.css", condition)
            assert (response.status, response.body) == (304, b""), condition
            assert response.header("etag") == etag
            assert response.header("vary") == "accept-encoding"
            assert response.header("content-type") is None
            assert response.header("content-length") is None
        assert get(wire, "/static/style.css", ("if-none-match", '"x"')).status == 200
        assert get(wire, "/static/style.css", ("if-modified-since", "Sun, 09 Sep 2001 01:46:39 GMT")).status == 200
        # RFC 9110 13.2.2: If-None-Match is there, so the date does not count.
        both = [("if-none-match", '"x"'), ("if-modified-since", THEN_TEXT)]
        assert get(wire, "/static/style.css", *both).status == 200


def test_a_condition_that_is_not_met(server: Server) -> None:
    with server.connect() as wire:
        for condition in [("if-match", '"x"'), ("if-unmodified-since", "Sun, 09 Sep 2001 01:46:39 GMT")]:
            response = get(wire, "/static/digits.txt", condition)
            assert response.status == 412
            assert b"0123" not in response.body
        assert get(wire, "/static/digits.txt", ("if-match", "*")).status == 200


# ---- ranges


@pytest.mark.parametrize("name", ["digits.txt", "large.bin"])
@pytest.mark.parametrize("asked", [(0, 0), (2, 5), (9, 9), (0, 9)])
def test_a_part(server: Server, root: Path, name: str, asked: tuple[int, int]) -> None:
    data = (root / name).read_bytes()
    first, last = asked
    response = one(server, f"/static/{name}", ("range", f"bytes={first}-{last}"))
    assert response.status == 206
    assert response.header("content-range") == f"bytes {first}-{last}/{len(data)}"
    assert response.body == data[first : last + 1]


def test_parts_from_either_end(server: Server) -> None:
    assert one(server, "/static/digits.txt", ("range", "bytes=7-")).body == b"789"
    assert one(server, "/static/digits.txt", ("range", "bytes=-3")).body == b"789"
    assert one(server, "/static/digits.txt", ("range", "bytes=-30")).body == b"0123456789"
    assert one(server, "/static/large.bin", ("range", "bytes=-100000")).body == LARGE[-100_000:]


def parts_of(response: Response) -> list[Message]:
    content_type = response.header("content-type")
    assert content_type is not None
    message = BytesParser().parsebytes(f"content-type: {content_type}\r\n\r\n".encode() + response.body)
    assert message.is_multipart()
    parts = message.get_payload()
    assert isinstance(parts, list)
    return [part for part in parts if isinstance(part, Message)]


def test_several_parts(server: Server) -> None:
    with server.connect() as wire:
        response = get(wire, "/static/digits.txt", ("range", "bytes=8-, 0-1, 4-5"))
        assert response.status == 206
        parts = parts_of(response)
        assert [part.get_payload(decode=True) for part in parts] == [b"89", b"01", b"45"]
        assert [part["content-range"] for part in parts] == ["bytes 8-9/10", "bytes 0-1/10", "bytes 4-5/10"]
        assert {part["content-type"] for part in parts} == {"text/plain; charset=utf-8"}
        assert response.header("content-range") is None
        # The framing was right: the next answer is where it should be.
        assert get(wire, "/static/digits.txt").body == b"0123456789"


def test_several_parts_of_a_large_file(server: Server) -> None:
    wanted = [(0, 99_999), (1_000_000, 1_000_000), (5_000_000, 5_100_000)]
    field = ",".join(f"{first}-{last}" for first, last in wanted)
    with server.connect() as wire:
        response = get(wire, "/static/large.bin", ("range", f"bytes={field}"))
        assert response.status == 206
        for first, last in wanted:
            header = f"content-range: bytes {first}-{last}/{len(LARGE)}\r\n\r\n".encode()
            start = response.body.index(header) + len(header)
            assert response.body[start : start + last - first + 1] == LARGE[first : last + 1]
        assert get(wire, "/static/digits.txt").body == b"0123456789"


def test_nothing_of_what_was_asked_is_there(server: Server) -> None:
    response = one(server, "/static/digits.txt", ("range", "bytes=10-, 20-30"))
    assert (response.status, response.header("content-range")) == (416, "bytes */10")


@pytest.mark.parametrize(
    "field", ["bytes=5-4", "lines=1-2", "bytes=0-,0-", "bytes=" + ",".join(f"{i * 100}-{i * 100}" for i in range(17))]
)
def test_a_range_that_makes_no_sense_is_ignored(server: Server, field: str) -> None:
    response = one(server, "/static/large.bin", ("range", field))
    assert (response.status, len(response.body)) == (200, len(LARGE))


def test_if_range(server: Server) -> None:
    with server.connect() as wire:
        etag = get(wire, "/static/digits.txt").header("etag") or ""
        part = ("range", "bytes=0-1")
        for value, status in [(etag, 206), (THEN_TEXT, 206), ("W/" + etag, 200), ('"x"', 200)]:
            assert get(wire, "/static/digits.txt", part, ("if-range", value)).status == status, value


# ---- precompressed siblings


def test_a_sibling_is_sent_where_it_is_welcome(server: Server) -> None:
    with server.connect() as wire:
        plain = get(wire, "/static/style.css")
        packed = get(wire, "/static/style.css", ("accept-encoding", "gzip, deflate"))
        best = get(wire, "/static/style.css", ("accept-encoding", "gzip, br"))
        assert plain.body == CSS and plain.header("content-encoding") is None
        assert gzip.decompress(packed.body) == CSS and packed.header("content-encoding") == "gzip"
        assert best.body == b"pretends to be brotli" and best.header("content-encoding") == "br"
        for response in (plain, packed, best):
            assert response.header("vary") == "accept-encoding"
            assert response.header("content-type") == "text/css; charset=utf-8"
        assert len({response.header("etag") for response in (plain, packed, best)}) == 3
        refused = get(wire, "/static/style.css", ("accept-encoding", "br;q=0, gzip;q=0, *;q=0"))
        assert refused.body == CSS


def test_a_range_is_of_the_sibling_that_was_chosen(server: Server) -> None:
    response = one(server, "/static/style.css", ("accept-encoding", "br"), ("range", "bytes=0-7"))
    assert (response.status, response.body) == (206, b"pretends")
    assert response.header("content-range") == "bytes 0-7/21"
    assert response.header("content-encoding") == "br"


# ---- folders


def test_a_folder_is_its_index(server: Server) -> None:
    with server.connect() as wire:
        assert get(wire, "/static/sub/").body == b"<p>index"
        for path, location in [
            ("/static/sub", "./sub/"),
            ("/static/sub?a=b", "./sub/?a=b"),
            ("/static/%73ub", "./%73ub/"),
        ]:
            response = get(wire, path)
            assert (response.status, response.header("location")) == (308, location)
        assert get(wire, "/static/empty-folder").status == 404
        assert get(wire, "/static/empty-folder/").status == 404
        assert get(wire, "/static/").status == 404
        assert get(wire, "/static").status == 404


# ---- what is not served

HOSTILE = [
    "/static/../secret.txt",
    "/static/sub/../../secret.txt",
    "/static/sub/../digits.txt",
    "/static/..",
    "/static/../",
    "/static/%2e%2e/secret.txt",
    "/static/%2E./secret.txt",
    "/static/.%2e%2fsecret.txt",
    "/static/..%2fsecret.txt",
    "/static/..%2Fsecret.txt",
    "/static/sub%2f..%2f..%2fsecret.txt",
    "/static%2f..%2fsecret.txt",
    "/static/%252e%252e/secret.txt",
    "/static/..%5csecret.txt",
    "/static/..\\secret.txt",
    "/static/%c0%ae%c0%ae/secret.txt",
    "/static/%uff0e%uff0e/secret.txt",
    "/static//digits.txt",
    "/static/sub//a%20b+c.txt",
    "/static//etc/passwd",
    "/static/%2fetc/passwd",
    "/static/./digits.txt",
    "/static/%2e/digits.txt",
    "/static/.env",
    "/static/%2eenv",
    "/static/sub/.hidden",
    "/static/sub/%2Ehidden",
    "/static/digits.txt%00",
    "/static/digits.txt%00.html",
    "/static/%00",
    "/static/digits.txt/",
    "/static/digits.txt/x",
    "/static/" + "a" * 5000,
    "/static/" + "a/" * 2000,
    "/static/%",
    "/static/%zz",
    "/static/none",
]


@pytest.mark.parametrize("path", HOSTILE, ids=lambda path: path[:40])
def test_hostile_paths_are_not_found(server: Server, path: str) -> None:
    response = one(server, path)
    assert response.status == 404
    assert b"secret" not in response.body


@pytest.mark.skipif(not IS_WINDOWS, reason="names with a meaning of their own are Windows'")
@pytest.mark.parametrize(
    "name",
    [
        "NUL",
        "con.txt",
        "digits.txt.",
        "digits.txt%20",
        "digits.txt::$DATA",
        "DIGITS~1.TXT:x",
        "C:/x",
        "sub%5cindex.html",
    ],
)
def test_what_windows_makes_of_a_name_is_not_found(server: Server, name: str) -> None:
    assert one(server, f"/static/{name}").status == 404


@not_on_windows
def test_no_link_leads_out(server: Server, root: Path, place: Path) -> None:
    for name, target in [
        ("relative", "../../secret.txt"),
        ("absolute", str(root.parent / "secret.txt")),
        ("up", "../.."),
        ("crooked", "../sub/../../secret.txt"),
        ("proc", "/proc/self/root"),
    ]:
        (place / name).symlink_to(target)
    for path in ["relative", "absolute", "up/secret.txt", "crooked", "proc/etc/passwd"]:
        response = one(server, f"/static/{place.name}/{path}")
        assert response.status == 404, path
        assert b"secret" not in response.body


@not_on_windows
def test_a_link_that_stays_inside_is_followed(server: Server, place: Path) -> None:
    (place / "here.txt").write_bytes(b"here")
    (place / "link.txt").symlink_to("here.txt")
    (place / "above.txt").symlink_to("../digits.txt")
    assert one(server, f"/static/{place.name}/link.txt").body == b"here"
    assert one(server, f"/static/{place.name}/above.txt").body == b"0123456789"


@not_on_windows
def test_only_regular_files(server: Server, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(place / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(place)  # a socket's path has at most 108 bytes
        listener.bind("socket")
        assert one(server, f"/static/{place.name}/fifo").status == 404
        assert one(server, f"/static/{place.name}/socket").status == 404


@not_on_windows
def test_no_devices(server: Server, place: Path) -> None:
    try:
        os.mknod(place / "zero", 0o20666, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("only root can make a device")
    assert one(server, f"/static/{place.name}/zero").status == 404


@not_on_windows
def test_an_unreadable_file_is_not_there(server: Server, place: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    (place / "file").write_bytes(b"secret")
    (place / "file").chmod(0)
    assert one(server, f"/static/{place.name}/file").status == 404


# ---- files that change


def test_a_file_that_is_replaced_while_it_is_sent_is_sent_as_it_was(server: Server, place: Path) -> None:
    (place / "file").write_bytes(LARGE)
    (place / "new").write_bytes(b"new")
    with server.connect(receive_buffer=65536) as wire:
        wire.request("GET", f"/static/{place.name}/file")
        response = wire.head()
        try:
            os.replace(place / "new", place / "file")
        except PermissionError:
            pytest.skip("this Windows replaces no file that is open")
        wire.read_body(response)
        assert response.body == LARGE
        wait_until(lambda: get(wire, f"/static/{place.name}/file").body == b"new")


def test_a_new_file_and_a_removed_one_are_noticed(server: Server, place: Path) -> None:
    with server.connect() as wire:
        assert get(wire, f"/static/{place.name}/file").status == 404
        (place / "file").write_bytes(b"here")
        wait_until(lambda: get(wire, f"/static/{place.name}/file").status == 200)
        (place / "file").unlink()
        wait_until(lambda: get(wire, f"/static/{place.name}/file").status == 404)


@pytest.mark.skipif(IS_WINDOWS, reason="Windows shortens no file that is being sent")
def test_a_file_that_is_cut_while_it_is_sent_cuts_the_connection(server: Server, place: Path) -> None:
    (place / "file").write_bytes(b"x" * (50 << 20))
    with server.connect(receive_buffer=65536) as wire:
        wire.request("GET", f"/static/{place.name}/file")
        response = wire.head()
        assert response.status == 200
        os.truncate(place / "file", 1 << 20)
        with pytest.raises((Closed, ConnectionResetError)):
            wire.read_body(response)


def test_a_reader_that_stops_holds_nobody_up(server: Server) -> None:
    with server.connect(receive_buffer=65536) as stuck, server.connect() as wire:
        stuck.request("GET", "/static/large.bin")
        stuck.head()
        for _ in range(20):
            assert get(wire, "/static/digits.txt").status == 200
        stuck.reset()


# ---- connections


def test_files_and_the_application_share_a_connection(server: Server) -> None:
    paths = ["/static/digits.txt", "/hello", "/static/none", "/static/large.bin", "/hello", "/static/style.css"]
    with server.connect() as wire:
        for _ in range(5):
            wire.send(b"".join(encode("GET", path, [], None, "1.1") for path in paths))
            responses = [wire.response() for _ in paths]
            assert [response.status for response in responses] == [200, 200, 404, 200, 200, 200]
            assert responses[0].body == b"0123456789"
            assert responses[1].text == "Hello, world!"
            assert responses[3].body == LARGE
            assert responses[5].body == CSS


def test_many_clients(server: Server) -> None:
    wrong: list[object] = []

    def client(seed: int) -> None:
        choose = random.Random(seed)
        with server.connect() as wire:
            for _ in range(30):
                first = choose.randrange(len(LARGE))
                last = min(first + choose.randrange(200_000), len(LARGE) - 1)
                response = get(wire, "/static/large.bin", ("range", f"bytes={first}-{last}"))
                if (response.status, response.body) != (206, LARGE[first : last + 1]):
                    wrong.append((first, last, response))
                if get(wire, "/static/digits.txt").body != b"0123456789":
                    wrong.append(response)

    threads = [threading.Thread(target=client, args=(seed,)) for seed in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("loop", list(filter(is_installed, DETACHED))[:1])
def test_each_io_thread_serves_them(servers: Servers, loop: str, root: Path) -> None:
    with servers.private("basic:app", "--static", f"/static={root}", "--io-threads", "3", loop=loop) as server:
        wires = [server.connect() for _ in range(9)]
        try:
            for _ in range(3):
                for wire in wires:
                    wire.request("GET", "/static/large.bin")
                for wire in wires:
                    assert wire.response().body == LARGE
                    assert get(wire, "/static/digits.txt").body == b"0123456789"
                    assert get(wire, "/hello").text == "Hello, world!"
        finally:
            for wire in wires:
                wire.close()
        server.check()


@pytest.mark.skipif(IS_WINDOWS, reason="handles are not counted there")
def test_descriptors_are_not_lost(server: Server, place: Path) -> None:
    for i in range(300):
        (place / str(i)).write_bytes(b"%d" % i * 20_000)
    with server.connect() as wire:
        get(wire, "/static/large.bin")
        before = server.descriptors()
        for i in range(300):
            assert get(wire, f"/static/{place.name}/{i}").body == b"%d" % i * 20_000
        assert server.descriptors() <= before + 130  # as many as are kept at most


def test_it_is_in_the_access_log(servers: Servers, root: Path, loop: str) -> None:
    with servers.private("basic:app", "--static", f"/static={root}", loop=loop) as server:
        one(server, "/static/digits.txt")
        one(server, "/static/none")
        assert '"GET /static/digits.txt HTTP/1.1" 200 10' in server.wait_for_output("/static/digits.txt")
        assert '"GET /static/none HTTP/1.1" 404' in server.wait_for_output("/static/none")


# ---- routes


def test_the_root_falls_through(serve: Callable[..., Server], root: Path) -> None:
    server = serve("basic:app", "--static", f"/={root}", "--static", f"/s/sub={root / 'sub'}", "--static", f"/s={root}")
    with server.connect() as wire:
        assert get(wire, "/digits.txt").body == b"0123456789"
        assert get(wire, "/hello").text == "Hello, world!"
        assert get(wire, "/hello?x=1").text == "Hello, world!"
        assert get(wire, "/s/sub/a%20b+c.txt").body == b"blank"
        assert get(wire, "/s/sub/digits.txt").status == 404
        assert get(wire, "/s/digits.txt").body == b"0123456789"
        wire.request("POST", "/hello", body=b"to the application")
        assert wire.response().text == "Hello, world!"
        for path in ["/.env", "/../secret.txt", "/%2e%2e/secret.txt"]:
            assert b"secret" not in get(wire, path).body


def test_max_age_and_the_root_path(serve: Callable[..., Server], root: Path) -> None:
    server = serve("basic:app", "--static", f"/static={root}", "--static-max-age", "60", "--root-path", "/proxied")
    response = one(server, "/static/digits.txt")
    assert response.header("cache-control") == "max-age=60"
    # Routes are compared with the path as it comes, which the proxy has taken the root path off.
    assert one(server, "/proxied/static/digits.txt").status == 404
    assert one(server, "/static/none").header("cache-control") is None
    assert one(server, "/static/digits.txt", ("if-none-match", "*")).header("cache-control") == "max-age=60"


# ---- while Python hangs


@pytest.mark.parametrize("loop", list(filter(is_installed, DETACHED))[:1])
def test_files_are_served_while_python_hangs(servers: Servers, loop: str, root: Path) -> None:
    server = servers.shared("hanging:app", "--static", f"/static={root}", loop=loop)
    with server.connect() as wire, python_hangs(server):
        for _ in range(10):
            assert get(wire, "/static/digits.txt").status == 200
            assert get(wire, "/static/large.bin").body == LARGE
    server.check()
