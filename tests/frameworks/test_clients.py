"""Real clients: httpx, aiohttp, curl and h11's own, each with the habits it has."""

from __future__ import annotations

import asyncio
import http.client
import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import aiohttp
import h11
import httpx
import pytest
from serving import HANG_GUARD, Server


@pytest.fixture
def server(serve: Callable[..., Server], host: str) -> Server:
    return serve("fastapi_app:app", loop=host)


def test_httpx_many_at_once(server: Server) -> None:
    async def run() -> None:
        limits = httpx.Limits(max_connections=20)
        async with httpx.AsyncClient(base_url=server.url, limits=limits, timeout=HANG_GUARD) as client:
            responses = await asyncio.gather(*(client.get(f"/items/{i}?q={i}") for i in range(200)))
        assert [response.json() for response in responses] == [{"number": i, "q": str(i)} for i in range(200)]

    asyncio.run(run())


def test_aiohttp_streams_both_ways(server: Server) -> None:
    async def pieces() -> object:
        for i in range(50):
            yield b"%d," % i * 500
            await asyncio.sleep(0)

    async def run() -> None:
        timeout = aiohttp.ClientTimeout(total=HANG_GUARD)
        async with aiohttp.ClientSession(server.url, timeout=timeout) as session:
            async with session.post("/echo", data=pieces()) as response:
                assert await response.read() == b"".join(b"%d," % i * 500 for i in range(50))
            async with session.post("/echo", data=b"x" * 100_000, expect100=True) as response:
                assert len(await response.read()) == 100_000
            async with session.get("/large") as response:
                assert await response.json() == list(range(20_000))
            results = await asyncio.gather(*(fetch(session, i) for i in range(100)))
            assert results == list(range(100))

    async def fetch(session: aiohttp.ClientSession, number: int) -> int:
        async with session.get(f"/items/{number}") as response:
            found: int = (await response.json())["number"]
            return found

    asyncio.run(run())


def curl(*arguments: str, stdin: bytes = b"") -> bytes:
    program = shutil.which("curl")
    if program is None:
        pytest.skip("curl is not installed")
    command = [program, "--silent", "--show-error", "--max-time", "30", *arguments]
    # The sanitizer that is preloaded for the servers is not for curl: its resolver's thread hangs in TSan's runtime.
    env = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    done = subprocess.run(command, input=stdin, capture_output=True, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_curl(server: Server, sample: Path, tmp_path: Path) -> None:
    assert curl(server.url + "/json") == b'{"hello":"world"}'
    assert b"200" in curl("--head", "--request", "GET", server.url + "/json").splitlines()[0]
    assert curl("--http1.0", server.url + "/json") == b'{"hello":"world"}'
    assert curl("--data", "a=1&b=2", server.url + "/form") == b'{"a":"1","b":"2"}'
    # More than 1 MB makes curl send Expect: 100-continue by itself.
    assert curl("--data-binary", f"@{sample}", server.url + "/echo") == sample.read_bytes()
    assert curl("--upload-file", "-", "--request", "POST", server.url + "/echo", stdin=b"piped " * 1000) == (
        b"piped " * 1000
    )
    assert curl(server.url + "/file") == sample.read_bytes()
    assert curl("--form", f"file=@{sample}", server.url + "/upload").startswith(b'{"name":"sample.bin","size":3200032')
    # Two transfers, one connection.
    said = curl("--write-out", "%{num_connects},", server.url + "/json", server.url + "/json")
    assert said == b'{"hello":"world"}1,{"hello":"world"}0,'
    assert curl("--compressed", server.url + "/large").startswith(b"[0,1,2,")


def test_curl_upgrades_to_h2c_in_vain(server: Server) -> None:
    """`--http2` on a plain connection asks for an upgrade, which a server may ignore."""
    assert curl("--http2", server.url + "/json") == b'{"hello":"world"}'


def test_h11s_own_client(server: Server) -> None:
    """h11 refuses what is not quite HTTP."""
    connection = h11.Connection(h11.CLIENT)
    with socket.create_connection((server.host, server.port), HANG_GUARD) as sock:

        def exchange(method: str, path: str, body: bytes = b"", chunked: bool = False) -> tuple[int, bytes]:
            headers = [("Host", "localhost")]
            if chunked:
                headers.append(("Transfer-Encoding", "chunked"))
            elif body:
                headers.append(("Content-Length", str(len(body))))
            sent = connection.send(h11.Request(method=method, target=path, headers=headers)) or b""
            if body:
                sent += connection.send(h11.Data(body)) or b""
            sock.sendall(sent + (connection.send(h11.EndOfMessage()) or b""))
            status = 0
            data = b""
            while True:
                event = connection.next_event()
                if event is h11.NEED_DATA:
                    connection.receive_data(sock.recv(4096))
                elif isinstance(event, h11.Response):
                    status = event.status_code
                elif isinstance(event, h11.Data):
                    data += bytes(event.data)
                elif isinstance(event, h11.EndOfMessage):
                    connection.start_next_cycle()
                    return status, data

        assert exchange("GET", "/json") == (200, b'{"hello":"world"}')
        assert exchange("POST", "/echo", b"with a length") == (200, b"with a length")
        assert exchange("POST", "/echo", b"in chunks", chunked=True) == (200, b"in chunks")
        assert exchange("GET", "/stream")[1].endswith(b"piece 9, ")
        assert exchange("HEAD", "/missing")[0] == 404
        assert exchange("GET", "/error")[0] == 500


def test_the_standard_librarys_client(server: Server) -> None:
    connection = http.client.HTTPConnection(server.host, server.port, timeout=HANG_GUARD)
    try:
        for _ in range(3):
            connection.request("POST", "/echo", body=iter([b"one ", b"two"]), encode_chunked=True)
            assert connection.getresponse().read() == b"one two"
            connection.request("GET", "/stream")
            assert connection.getresponse().read().endswith(b"piece 9, ")
    finally:
        connection.close()
