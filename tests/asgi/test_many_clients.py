"""Thousands of clients, and clients that are stopped or vanish as whole processes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import processes
import pytest
from processes import IS_WINDOWS, UNDER_WINE
from serving import HANG_GUARD, Server, Servers

CLIENTS = Path(__file__).parent / "many_clients.py"
# One process of Wine, its server, holds the descriptors of all the others, and both ends of each connection.
MANY = 4_000 if UNDER_WINE else 15_000
IN_SEQUENCE = 10_000 if UNDER_WINE else 100_000  # one takes some milliseconds there
WARM_UP = IN_SEQUENCE // 5  # connections until allocators and CPython's free lists have come to their plateau


def clients(server: Server, what: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, str(CLIENTS), what, str(server.port), str(count)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def settled_descriptors(server: Server, wanted: int) -> int:
    """How many are open, once no more than `wanted` are, or after a while."""
    until = time.monotonic() + HANG_GUARD
    while (found := server.descriptors()) > wanted and time.monotonic() < until:
        time.sleep(0.05)
    return found


@pytest.fixture
def raw(servers: Servers) -> Iterator[Server]:
    arguments: tuple[str, ...] = ()
    if servers.kind == "pyre":
        # However long it takes until the last client is there, the first one still is.
        patience = ("--timeout-header", "300", "--timeout-keep-alive", "300")
        arguments = ("--limit-connections", str(MANY + 1000), *patience)
    with servers.private("basic:app", "--no-access-log", *arguments) as server:
        yield server


@pytest.mark.heavy
@pytest.mark.timeout(300)
def test_thousands_of_connections_at_once_are_all_served(raw: Server) -> None:
    if not IS_WINDOWS:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        if limit < MANY + 200:
            pytest.skip(f"this machine allows {limit} open files")
    before = raw.descriptors()
    with clients(raw, "hold", MANY) as process:
        assert line(process) == str(MANY)
        assert raw.descriptors() >= MANY
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        assert line(process) == str(MANY), "those that were idle are served again"
        assert line(process) == "closed"
    assert settled_descriptors(raw, before) <= before
    raw.check()


@pytest.mark.heavy
@pytest.mark.timeout(600)
def test_many_connections_in_sequence_leave_no_descriptor_and_no_memory(raw: Server) -> None:
    with clients(raw, "sequence", WARM_UP) as process:
        assert line(process) == "0"
    descriptors, resident = raw.descriptors(), raw.resident_bytes()
    with clients(raw, "sequence", IN_SEQUENCE - WARM_UP) as process:
        assert line(process) == "0", "connections without an answer"
    assert settled_descriptors(raw, descriptors) <= descriptors
    # 80,000 connections that left 16 bytes each would be 1.3 MB; 8,000 that left 160, too.
    assert raw.resident_bytes() - resident < 1_000_000
    raw.check()


# What a stopped or killed process had under way, with the request that it sends.
KINDS = {
    "reads nothing of a large answer": "GET /large?1000,100000 HTTP/1.1\r\nHost: a\r\n\r\n",
    "is in the middle of a head": "GET /hello HTTP/1.1\r\nHost: ",
    "is in the middle of a body": "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nabc",
    "is idle": "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n",
}
CLIENT = """
import socket, sys
client = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
client.sendall(sys.argv[2].encode())
print("sent", flush=True)
sys.stdin.readline()
if "large" in sys.argv[2]:
    size = 0
    while size < 100_000_000:
        data = client.recv(1 << 20)
        assert data, size
        size += len(data)
    print("all", flush=True)
sys.stdin.readline()
"""


def start_client(server: Server, request: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CLIENT, str(server.port), request]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert line(process) == "sent"
    return process


@pytest.fixture
def server(serve: Callable[..., Server]) -> Server:
    return serve("basic:app")


@pytest.mark.parametrize("kind", KINDS)
def test_a_stopped_client_disturbs_nobody(server: Server, kind: str) -> None:
    with start_client(server, KINDS[kind]) as client:
        processes.suspend(client)
        try:
            before = server.resident_bytes()
            for _ in range(50):
                assert server.get("/hello").status == 200
            assert server.resident_bytes() - before < 16 << 20
        finally:
            processes.resume(client)
        if "large" in KINDS[kind]:
            assert client.stdin is not None
            client.stdin.write("\n")
            client.stdin.flush()
            assert line(client) == "all", "when it goes on, so does its answer"
        client.kill()


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_client_leaves_nothing(servers: Servers, loop: str, kind: str) -> None:
    with servers.private("basic:app", loop=loop) as server:
        assert server.get("/hello").status == 200
        before = server.descriptors()
        processes = [start_client(server, KINDS[kind]) for _ in range(3 if UNDER_WINE else 8)]
        for process in processes:
            process.kill()
            process.wait()
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.close()
            process.stdout.close()
        assert settled_descriptors(server, before) <= before
        assert server.get("/hello").status == 200
        server.check()


@pytest.mark.pyre_only("uvicorn waits for it for ever")
def test_a_stopped_client_is_cut_after_the_write_time_out(servers: Servers, loop: str) -> None:
    with servers.private("basic:app", "--timeout-write", "1", loop=loop) as server:
        assert server.get("/hello").status == 200  # event loops open some of theirs late
        before = server.descriptors()
        with start_client(server, KINDS["reads nothing of a large answer"]) as client:
            processes.suspend(client)
            try:
                assert settled_descriptors(server, before) <= before
            finally:
                processes.resume(client)
                client.kill()
        server.check()
