"""A client process for test_many_clients.py: the server and the clients share no file limit. Prints one line for each
step; `hold` goes on when it is given a line."""

from __future__ import annotations

import socket
import struct
import sys

RESET = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
PER_SOURCE = 10_000  # ports of one source address that are used: the kernel gives away some 28,000


def connect(port: int, number: int) -> socket.socket:
    client = socket.socket()
    client.settimeout(60)
    client.bind((f"127.0.1.{1 + number // PER_SOURCE % 200}", 0))
    client.connect(("127.0.0.1", port))
    return client


def ask(client: socket.socket, fields: bytes = b"") -> bool:
    client.sendall(b"GET /hello HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n")
    answer = b""
    while not answer.endswith(b"Hello, world!"):
        data = client.recv(4096)
        if not data:
            return False
        answer += data
    return answer.startswith(b"HTTP/1.1 200 ")


def hold(port: int, count: int) -> None:
    clients = [connect(port, number) for number in range(count)]
    print(sum(ask(client) for client in clients), flush=True)
    sys.stdin.readline()
    print(sum(ask(client) for client in reversed(clients)), flush=True)
    for client in clients:
        client.close()
    print("closed", flush=True)


def in_sequence(port: int, count: int) -> None:
    """A third ends by "Connection: close", a third by our FIN, a third by a reset; one in ten asks for nothing."""
    answered = asked = 0
    for number in range(count):
        with connect(port, number) as client:
            if number % 10:
                asked += 1
                answered += ask(client, b"Connection: close\r\n" if number % 3 == 0 else b"")
            if number % 3 == 0 and number % 10:
                assert client.recv(1) == b""
            elif number % 3 == 2:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    print(asked - answered, flush=True)


if __name__ == "__main__":
    {"hold": hold, "sequence": in_sequence}[sys.argv[1]](int(sys.argv[2]), int(sys.argv[3]))
