"""Clients that hold, open or overfill connections, in a process of their own. Each prints one line of JSON.

    connections.py hold --port P --count N      one request on each of N connections, then READY; ends at stdin's end
    connections.py sequence --port P --count N  N connections one after another, each with one request
    connections.py unread --port P --bytes B    pipelined requests of B bytes in all, no answer is ever read

Only the standard library, only loopback.
"""

from __future__ import annotations

import argparse
import json
import resource
import select
import socket
import sys
import time

REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
SOCKET_SECONDS = 30.0
# 28,232 ephemeral ports by default: a new source address for each 10,000 keeps TIME_WAIT out of the way.
PER_ADDRESS = 10_000
# A server that has stopped reading is asked for this long before its back-pressure is believed.
STALL_SECONDS = 3.0


def raise_limit(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, hard)))
        except (ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def connect(port: int, index: int) -> socket.socket:
    source = f"127.0.{1 + index // PER_ADDRESS}.1"
    sock = socket.socket()
    sock.settimeout(SOCKET_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # Without this option bind() would reserve a port for all destinations and give out fewer of them.
    sock.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24), 1)
    sock.bind((source, 0))
    sock.connect(("127.0.0.1", port))
    return sock


def read_answer(sock: socket.socket) -> bool:
    """Read one whole answer with a Content-Length; true for a 200."""
    data = b""
    while b"\r\n\r\n" not in data:
        got = sock.recv(65536)
        if not got:
            return False
        data += got
    head, _, body = data.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            length = int(value)
    while len(body) < length:
        got = sock.recv(65536)
        if not got:
            return False
        body += got
    return head.split(b" ", 2)[1] == b"200"


def hold(port: int, count: int) -> dict[str, float]:
    raise_limit(count + 100)
    started = time.monotonic()
    # All are open before the first request is sent, so that `count` of them are open at once.
    sockets = [connect(port, index) for index in range(count)]
    answered = 0
    for sock in sockets:
        sock.sendall(REQUEST)
        answered += read_answer(sock)
    print(json.dumps({"ready": answered, "seconds": time.monotonic() - started}), flush=True)
    sys.stdin.readline()
    # After the hold every connection must still answer: a server that dropped idle ones has cheated the measurement.
    alive = 0
    for sock in sockets:
        try:
            sock.sendall(REQUEST)
            alive += read_answer(sock)
        except OSError:
            pass
    for sock in sockets:
        sock.close()
    return {"answered": answered, "alive": alive}


def sequence(port: int, count: int, first: int) -> dict[str, float]:
    answered = 0
    started = time.monotonic()
    for index in range(first, first + count):
        with connect(port, index) as sock:
            sock.sendall(REQUEST)
            answered += read_answer(sock)
    return {"answered": answered, "seconds": time.monotonic() - started}


def unread(port: int, total: int) -> dict[str, float]:
    sock = connect(port, 0)
    sock.setblocking(False)
    block = REQUEST * 2000
    sent = 0
    stalled = False
    while sent < total and not stalled:
        _, writable, _ = select.select([], [sock], [], STALL_SECONDS)
        if not writable:
            stalled = True
            break
        offset = sent % len(REQUEST)
        try:
            sent += sock.send(block[offset : offset + min(len(block) - offset, total - sent)])
        except BlockingIOError:
            continue
        except OSError:
            break
    print(json.dumps({"sent": sent, "stalled": stalled}), flush=True)
    sys.stdin.readline()
    sock.close()
    return {"sent": sent, "stalled": stalled}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=["hold", "sequence", "unread"])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--first", type=int, default=0, help="index of the first connection (chooses source addresses)")
    parser.add_argument("--bytes", type=int, default=15_000_000)
    args = parser.parse_args()
    if args.mode == "hold":
        result = hold(args.port, args.count)
    elif args.mode == "sequence":
        result = sequence(args.port, args.count, args.first)
    else:
        result = unread(args.port, args.bytes)
    print(json.dumps(result), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
