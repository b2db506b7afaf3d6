"""`--compress`: what is compressed for whom, how it arrives, and that nothing is lost on the way."""

from __future__ import annotations

import contextlib
import random
import sys
import sysconfig
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from serving import Server, Servers, wait_until
from wire import Closed, Response, Wire

sys.path.insert(0, str(Path(__file__).parent / "apps"))
from compress import TEXT

pytestmark = pytest.mark.pyre_only("uvicorn compresses nothing")

MISSING: set[str] = set()  # codings that nobody here can decode
try:
    import brotli
    import zstandard
except ImportError:
    if not sysconfig.get_config_var("Py_GIL_DISABLED"):
        raise
    MISSING.update(("br", "zstd"))  # their packages have no wheels for this Python
CODINGS = ["gzip", "br", "zstd"]
# Handlers that wait for an event that never comes are not waited for at the end.
ONLY_BR = ["--compress", "br", "--timeout-graceful-shutdown", "0.5"]


@pytest.fixture
def server(serve: Callable[..., Server]) -> Server:
    return serve("compress:app", "--compress", "on")


def decoder(coding: str) -> Callable[[bytes], bytes]:
    """Of a stream: gives what can be decoded so far."""
    if coding in MISSING:
        pytest.skip(f"{coding} has no decoder for this Python")
    if coding == "gzip":
        return zlib.decompressobj(31).decompress
    if coding == "br":
        return brotli.Decompressor().process  # type: ignore[no-any-return]
    return zstandard.ZstdDecompressor().decompressobj().decompress


def decoded(response: Response) -> bytes:
    coding = response.header("content-encoding")
    if coding == "gzip":
        inflate = zlib.decompressobj(31)
        whole = inflate.decompress(response.body)
        assert inflate.eof and not inflate.unused_data
        return whole
    if coding in MISSING:
        pytest.skip(f"{coding} has no decoder for this Python")
    if coding == "br":
        return brotli.decompress(response.body)  # type: ignore[no-any-return]
    if coding == "zstd":
        inflate = zstandard.ZstdDecompressor().decompressobj()
        whole = inflate.decompress(response.body)
        assert inflate.eof and not inflate.unused_data
        return whole  # type: ignore[no-any-return]
    assert coding is None
    return response.body


def ask(wire: Wire, path: str, accept: str | None = "gzip", method: str = "GET", **options: Any) -> Response:
    headers = [] if accept is None else [("accept-encoding", accept)]
    wire.request(method, path, headers=headers, **options)
    return wire.response(method)


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("size", [1024, 5000, 20_000, 100_000, 262_144, 262_145, 2_000_000])
def test_a_body_is_whole_after_decoding(server: Server, coding: str, size: int) -> None:
    with server.connect() as wire:
        for _ in range(2):
            response = ask(wire, f"/text?{size}", coding)
            assert (response.status, response.header("content-encoding")) == (200, coding)
            assert decoded(response) == TEXT[:size]
            assert len(response.body) < size / 2
            assert response.header("vary") == "accept-encoding"
    # A short one is known as a whole before its head goes out, a long one is not.
    assert (response.header("content-length") is not None) == (size <= 262_144)


def test_for_the_application_the_response_is_over_when_it_has_sent_all(server: Server) -> None:
    with server.connect() as wire:
        ask(wire, "/text?2000000")
        assert server.wait_for_note("text", bool)[-1] == "http.disconnect"


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        ("gzip", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, deflate, br", "br"),
        ("br;q=0.5, gzip;q=0.8", "gzip"),
        ("zstd;q=0, *", "br"),
        ("*", "zstd"),
        ("GZIP", "gzip"),
        ("x-gzip", "gzip"),
        ("deflate", None),
        ("identity", None),
        ("gzip;q=0", None),
        ("identity;q=1, gzip;q=0.5", None),
        ("", None),
        (None, None),
    ],
)
def test_a_client_gets_the_coding_that_it_likes_best(server: Server, accept: str | None, coding: str | None) -> None:
    with server.connect() as wire:
        response = ask(wire, "/text?10000", accept)
        assert response.header("content-encoding") == coding
        assert decoded(response) == TEXT[:10_000]
        assert response.header("vary") == "accept-encoding"


def test_a_short_body_is_sent_as_it_is(server: Server) -> None:
    with server.connect() as wire:
        for path in ("/text?1023", "/two_steps?1023", "/text?0"):
            response = ask(wire, path)
            assert response.header("content-encoding") is None
            assert response.body == TEXT[: int(path.partition("?")[2])]
            assert response.header("content-length") == path.partition("?")[2]


def test_a_body_that_does_not_shrink_is_sent_as_it_is(server: Server) -> None:
    with server.connect() as wire:
        for coding in CODINGS:
            response = ask(wire, "/noise?50000", coding)
            assert response.header("content-encoding") is None
            assert response.header("content-length") == "50000"
            assert len(response.body) == 50_000


@pytest.mark.parametrize(
    ("media_type", "is_compressed"),
    [
        ("text/html", True),
        ("TEXT/CSS;charset=utf-8", True),
        ("application/json", True),
        ("application/problem+json", True),
        ("image/svg+xml; charset=utf-8", True),
        ("application/javascript", True),
        ("application/wasm", True),
        ("image/png", False),
        ("application/octet-stream", False),
        ("application/zip", False),
        ("video/mp4", False),
        ("", False),
    ],
)
def test_only_media_types_that_shrink_are_compressed(server: Server, media_type: str, is_compressed: bool) -> None:
    with server.connect() as wire:
        response = ask(wire, f"/typed?{media_type}".replace(" ", ""))
        assert (response.header("content-encoding") == "gzip") == is_compressed
        assert (response.header("vary") == "accept-encoding") == is_compressed
        assert decoded(response) == TEXT[:10_000]


@pytest.mark.parametrize(
    "field",
    [
        "content-encoding=identity",
        "Cache-Control=public,%20no-transform",
        "content-range=bytes%200-9999/20000",
        "Repr-Digest=sha-256=:AAAA:",
    ],
)
def test_what_the_application_says_about_the_coding_holds(server: Server, field: str) -> None:
    with server.connect() as wire:
        response = ask(wire, f"/with_field?{field}")
        assert response.header("content-encoding") in (None, "identity")
        assert response.body == TEXT[:10_000]


@pytest.mark.parametrize(
    ("field", "name", "value"),
    [
        ('ETag="abc"', "etag", 'W/"abc"'),
        ('etag=W/"abc"', "etag", 'W/"abc"'),
        ("vary=Cookie", "vary", "Cookie, accept-encoding"),
        ("vary=Cookie,%20Accept-Encoding", "vary", "Cookie, Accept-Encoding"),
        ("vary=*", "vary", "*"),
    ],
)
def test_fields_that_depend_on_the_coding(server: Server, field: str, name: str, value: str) -> None:
    with server.connect() as wire:
        response = ask(wire, f"/with_field?{field}")
        assert response.header("content-encoding") == "gzip"
        assert ", ".join(response.all(name)) == value
        # Who gets it as it is gets the tag as it is.
        plain = ask(wire, f"/with_field?{field}", None)
        assert plain.header("etag") == ('"abc"' if field.startswith("ETag") else response.header("etag"))
        assert plain.all("vary") == response.all("vary")


@pytest.mark.parametrize(
    ("status", "is_compressed"), [(200, True), (404, True), (500, True), (206, False), (204, False), (304, False)]
)
def test_statuses(server: Server, status: int, is_compressed: bool) -> None:
    with server.connect() as wire:
        response = ask(wire, f"/with_status?{status}")
        assert response.status == status
        assert (response.header("content-encoding") == "gzip") == is_compressed


def test_head_says_what_get_says_but_for_the_length(server: Server) -> None:
    """RFC 9110 8.6: a Content-Length other than a GET's must not be sent; a cache would drop what it has for that."""
    with server.connect() as wire:
        for path in ("/text?10000", '/with_field?ETag="abc"'):
            got, head = ask(wire, path), ask(wire, path, method="HEAD")
            for name in ("content-encoding", "vary", "etag", "content-type"):
                assert head.header(name) == got.header(name)
            assert head.header("content-length") is None
        plain = ask(wire, "/text?10000", None, method="HEAD")
        assert (plain.header("content-length"), plain.header("vary")) == ("10000", "accept-encoding")
        assert ask(wire, "/text?1000", method="HEAD").header("content-length") == "1000"


def test_not_modified_has_vary_and_a_weak_tag(server: Server) -> None:
    with server.connect() as wire:
        response = ask(wire, "/not_modified")
        assert (response.status, response.header("vary"), response.header("etag")) == (
            304,
            "accept-encoding",
            'W/"abc"',
        )
        assert ask(wire, "/not_modified", None).header("etag") == '"abc"'


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("size", [999, 20_000, 400_000])
def test_pieces_without_a_length(server: Server, coding: str, size: int) -> None:
    with server.connect() as wire:
        response = ask(wire, f"/pieces?{size}", coding)
        assert response.header("transfer-encoding") == "chunked"
        assert decoded(response) == TEXT[:1_000_000]


def test_a_body_in_two_steps_of_one_turn_is_known_as_a_whole(server: Server) -> None:
    with server.connect() as wire:
        response = ask(wire, "/two_steps?10000")
        assert response.header("content-length") == str(len(response.body))
        assert decoded(response) == TEXT[:10_000]


def test_a_head_that_went_out_first(server: Server) -> None:
    with server.connect() as wire:
        for size in (0, 100, 300_000):
            response = ask(wire, f"/head_first?{size}")
            assert response.header("content-encoding") == "gzip"
            assert decoded(response) == TEXT[:size]


@pytest.mark.parametrize("coding", CODINGS)
def test_each_event_of_a_stream_can_be_decoded_when_it_was_sent(server: Server, coding: str) -> None:
    with server.connect() as wire:
        wire.request("GET", f"/stream?{coding}", headers=[("accept-encoding", coding)])
        response = wire.head()
        assert response.header("content-encoding") == coding
        decode = decoder(coding)
        for i in range(4):
            server.get(f"/tick?{coding}")
            text = b""
            while not text.endswith(b"\n\n"):
                size = int(wire._line(), 16)
                assert size, "the end of the body"
                text += decode(wire.take(size))
                assert wire.take(2) == b"\r\n"
            assert text == b"data: event %d of %s\n\n" % (i, coding.encode())
        if rest := wire.rest_of_chunks():
            decode(rest)


def test_pipelined_responses_come_in_order(server: Server) -> None:
    sizes = [200_000, 10, 5000, 1_000_000, 0, 60_000, 2000]
    with server.connect() as wire:
        for size in sizes:
            wire.request("GET", f"/text?{size}", headers=[("accept-encoding", "gzip")])
        for size in sizes:
            assert decoded(wire.response()) == TEXT[:size]


def test_http_1_0(server: Server) -> None:
    for size in (10_000, 1_000_000):
        with server.connect() as wire:
            response = ask(wire, f"/text?{size}", version="1.0")
            assert decoded(response) == TEXT[:size]
            assert response.header("transfer-encoding") is None


def test_a_connection_that_closes_after_the_response(server: Server) -> None:
    with server.connect() as wire:
        wire.request("GET", "/text?1000000", headers=[("accept-encoding", "br"), ("connection", "close")])
        assert decoded(wire.response()) == TEXT[:1_000_000]
        assert wire.closed()


def test_a_body_of_another_length_than_was_told(server: Server) -> None:
    with server.connect() as wire:
        assert decoded(ask(wire, "/wrong_length?10001")) == TEXT[:10_000]
        assert decoded(ask(wire, "/wrong_length_later?10001")) == TEXT[:10_000]
        wire.request("GET", "/wrong_length?9999", headers=[("accept-encoding", "gzip")])
        assert wire.closed()
    assert len(server.journal("wrong_length")) >= 1


def test_nothing_can_be_sent_after_the_end(server: Server) -> None:
    with server.connect() as wire:
        assert decoded(ask(wire, "/after_the_end")) == TEXT[:200_000]
        assert server.wait_for_note("after_the_end")[-1] == "RuntimeError"


def test_an_application_that_fails_in_the_middle_cuts_the_connection(server: Server) -> None:
    with server.connect() as wire:
        wire.request("GET", "/raises", headers=[("accept-encoding", "gzip")])
        response = wire.head()
        assert response.header("content-encoding") == "gzip"
        with pytest.raises((ConnectionError, Closed)):
            wire.read_body(response)
    server.wait_for_output("in the middle")
    server.mark()


def test_trailers_are_sent_and_the_body_is_not_coded(server: Server) -> None:
    with server.connect() as wire:
        wire.request("GET", "/trailers", headers=[("accept-encoding", "gzip"), ("te", "trailers")])
        response = wire.response()
        assert response.header("content-encoding") is None
        assert (response.body, response.trailers) == (TEXT[:10_000], [("x-sum", "1")])


def test_a_file_behind_coded_pieces_is_coded_too(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(TEXT[:300_000])
    with server.connect() as wire:
        response = ask(wire, f"/file?{path.as_posix()}")
        assert response.header("content-encoding") == "gzip"
        assert decoded(response) == TEXT[:5000] + TEXT[:300_000] + b"the end"


def test_a_file_that_becomes_shorter_ends_the_wait_of_who_sends_it(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(random.Random(1).randbytes(30_000_000))
    with server.connect(receive_buffer=4096) as wire:
        wire.request("GET", f"/shrinking_file?{path.as_posix()}", headers=[("accept-encoding", "gzip")])
        response = wire.head()
        assert response.header("content-encoding") == "gzip"
        server.wait_for_note("shrinking_file")
        with pytest.raises((ConnectionError, Closed)):
            wire.read_body(response)
        assert server.wait_for_note("shrinking_file", lambda noted: len(noted) > 1)[-1] == "OSError"


def test_a_file_by_itself_is_sent_as_it_is(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(TEXT[:300_000])
    with server.connect() as wire:
        response = ask(wire, f"/whole_file?{path.as_posix()}")
        assert (response.header("content-encoding"), response.header("content-length")) == (None, "300000")
        assert response.body == TEXT[:300_000]


def test_an_early_answer_arrives_although_its_request_ends_in_the_middle(server: Server) -> None:
    def answer(rest: bytes) -> Response:
        answered = len(server.journal("text")) + 1
        with server.connect() as wire:
            fields = [("accept-encoding", "br"), ("transfer-encoding", "chunked")]
            wire.request("POST", "/text?2000000", headers=fields)
            wire.send_chunk(b"x" * 10)
            wait_until(lambda: len(server.journal("text")) >= answered)
            if rest:
                wire.send(rest)
            else:
                wire.half_close()
            return wire.response()

    for rest in (b"", b"no chunk\r\n"):
        for attempt in range(10):
            try:
                assert decoded(answer(rest)) == TEXT[:2_000_000]
                break
            except Closed:
                # The application has answered, and that was still on its way to the I/O thread.
                if attempt == 9:
                    raise


def test_streams_whose_clients_have_gone_leave_room_for_others(servers: Servers, loop: str) -> None:
    """Also while their handlers still wait for something to send."""
    with servers.private("compress:app", *ONLY_BR, loop=loop) as server:
        for i in range(80):
            with server.connect() as wire:
                wire.request("GET", f"/stream?{i}", headers=[("accept-encoding", "br")])
                wire.head()
                wire.reset()
        wait_until(lambda: stream_coding(server) == "br")


def test_a_client_that_reads_slowly_holds_the_application_up(server: Server) -> None:
    with server.connect(receive_buffer=4096) as wire:
        wire.request("GET", "/endless", headers=[("accept-encoding", "gzip")])
        time.sleep(1.0)
        before = server.resident_bytes()
        time.sleep(0.5)
        assert server.resident_bytes() < before + 4_000_000
        wire.reset()
    # Kernel buffers, ours, and what one step holds.
    assert server.wait_for_note("endless")[-1] < 40_000_000


def test_clients_that_vanish_while_their_bodies_are_encoded(server: Server) -> None:
    for i in range(40):
        with server.connect() as wire:
            wire.request("GET", f"/text?{100_000 + i}", headers=[("accept-encoding", CODINGS[i % 3])])
            if i % 2:
                wire.reset()
    with server.connect() as wire:
        assert decoded(ask(wire, "/text?100000")) == TEXT[:100_000]


def test_many_clients_at_the_same_time(server: Server) -> None:
    codings = sorted({*CODINGS} - MISSING)
    failures: list[BaseException] = []

    def client(number: int) -> None:
        try:
            with server.connect() as wire:
                for i in range(10):
                    size = (number * 7919 + i * 104_729) % 400_000
                    response = ask(wire, f"/text?{size}", codings[(number + i) % len(codings)])
                    assert decoded(response) == TEXT[:size]
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures[0]


def test_levels_order_sizes_and_types_are_chosen(servers: Servers, loop: str) -> None:
    arguments = ["--compress", "gzip:1,br:9", "--compress-min-size", "100", "--compress-types", "text/plain"]
    with servers.private("compress:app", *arguments, loop=loop) as server, server.connect() as wire:
        response = ask(wire, "/text?150", "br, gzip, zstd")
        assert (response.header("content-encoding"), decoded(response)) == ("gzip", TEXT[:150])
        assert ask(wire, "/text?99", "gzip").header("content-encoding") is None
        assert ask(wire, "/text?10000", "zstd").header("content-encoding") is None
        assert ask(wire, "/typed?application/json", "gzip").header("content-encoding") is None
        largest = len(ask(wire, "/text?100000", "gzip").body)
        assert largest > len(ask(wire, "/text?100000", "br").body)


def test_a_server_that_has_compressed_ends_without_a_word(servers: Servers, loop: str) -> None:
    """Its threads' encoders are destroyed in the right order, or not at all."""
    with servers.private("compress:app", *ONLY_BR, loop=loop) as server:
        with server.connect() as wire:
            for size in (150, 100_000):
                assert ask(wire, f"/text?{size}", "br").header("content-encoding") == ("br" if size > 150 else None)
        assert server.stop() == 0
        assert "exception" not in server.output()


def test_without_the_flag_nothing_is_compressed(servers: Servers, loop: str) -> None:
    with servers.private("compress:app", loop=loop) as server, server.connect() as wire:
        response = ask(wire, "/text?10000")
        assert (response.header("content-encoding"), response.header("vary")) == (None, None)


def test_streams_above_the_memory_for_encoders_are_sent_as_they_are(servers: Servers, loop: str) -> None:
    """br: 1.5 MiB for each of them, and 64 MiB for all of a loop."""
    with servers.private("compress:app", *ONLY_BR, loop=loop) as server:
        wires = [server.connect() for _ in range(60)]
        codings = []
        for i, wire in enumerate(wires):
            wire.request("GET", f"/stream?{i}", headers=[("accept-encoding", "br")])
            codings.append(wire.head().header("content-encoding"))
        if not loop.endswith("threads"):
            assert (codings.count("br"), codings.count(None)) == (42, 18)
        for i, wire in enumerate(wires):
            for _ in range(4):
                server.get(f"/tick?{i}")
                time.sleep(0.002)
            wire.close()
        # And what they held is there again.
        wait_until(lambda: stream_coding(server) == "br")


def stream_coding(server: Server) -> str | None:
    with server.connect() as wire:
        wire.request("GET", "/stream?again", headers=[("accept-encoding", "br")])
        return wire.head().header("content-encoding")


def test_the_server_ends_while_bodies_are_encoded(servers: Servers, loop: str) -> None:
    """What had come in is answered to its end. (At this level some 0.2 s each; with a sanitizer fifteen times that.)"""
    with (
        servers.private("compress:app", "--compress", "br:11", loop=loop) as server,
        contextlib.ExitStack() as open_wires,
    ):
        wires = [open_wires.enter_context(server.connect()) for _ in range(3)]
        for wire in wires:
            wire.request("GET", "/text?50000", headers=[("accept-encoding", "br")])
        wait_until(lambda: len(server.journal("text")) >= 3)
        server.tell_to_stop()
        for wire in wires:
            assert decoded(wire.response()) == TEXT[:50_000]
        assert server.wait() == 0
