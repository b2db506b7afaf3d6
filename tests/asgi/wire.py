"""A client that shows what is on the wire: raw bytes out, strictly parsed responses in."""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterable
from typing import Any, Self

TIMEOUT = 30.0  # a hang-guard
LINGER_ZERO = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)


class Response:
    """One response as it came. `headers` keep their order; names are lower-cased."""

    def __init__(self, version: str, status: int, reason: str, headers: list[tuple[str, str]]) -> None:
        self.version = version
        self.status = status
        self.reason = reason
        self.headers = headers
        self.body = b""
        self.chunks: list[bytes] = []
        self.trailers: list[tuple[str, str]] = []
        self.informational: list[Response] = []

    def all(self, name: str) -> list[str]:
        return [value for found, value in self.headers if found == name]

    def header(self, name: str) -> str | None:
        values = self.all(name)
        assert len(values) <= 1, f"{name} is there {len(values)} times"
        return values[0] if values else None

    @property
    def text(self) -> str:
        return self.body.decode()

    def __repr__(self) -> str:
        return f"<Response {self.status} {self.headers} {self.body[:200]!r}>"


class Closed(Exception):
    """The server closed the connection where bytes were due."""


class Wire:
    """A TCP or unix connection."""

    def __init__(
        self, address: Any, *, receive_buffer: int | None = None, source: tuple[str, int] | None = None
    ) -> None:
        if isinstance(address, str):
            family = socket.AF_UNIX
        else:
            family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.socket = socket.socket(family)
        self.socket.settimeout(TIMEOUT)
        try:
            if receive_buffer is not None:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            if source is not None:
                self.socket.bind(source)
            self.socket.connect(address)
            if not isinstance(address, str):
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except BaseException:
            self.socket.close()
            raise
        self.buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def half_close(self) -> None:
        """FIN: we send nothing more, and still read."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """RST instead of FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
        self.socket.close()

    # ---- out

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def request(
        self,
        method: str,
        path: str,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes | None = None,
        version: str = "1.1",
    ) -> None:
        self.send(encode(method, path, headers, body, version))

    def send_chunk(self, data: bytes) -> None:
        self.send(b"%x\r\n%b\r\n" % (len(data), data))

    # ---- in

    def _more(self) -> bool:
        data = self.socket.recv(65536)
        self.buffer += data
        return bool(data)

    def _line(self) -> bytes:
        while b"\r\n" not in self.buffer:
            if not self._more():
                raise Closed(f"in a line: {self.buffer[:200]!r}")
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        assert b"\r" not in line and b"\n" not in line, line
        return line

    def take(self, size: int) -> bytes:
        pieces = [self.buffer[:size]]
        missing = size - len(pieces[0])
        self.buffer = self.buffer[size:]
        while missing:
            data = self.socket.recv(min(missing, 1 << 20))
            if not data:
                raise Closed(f"{missing} bytes before the end")
            pieces.append(data)
            missing -= len(data)
        return b"".join(pieces)

    def _fields(self) -> list[tuple[str, str]]:
        fields = []
        while line := self._line():
            name, colon, value = line.partition(b":")
            assert colon and name and not set(name) & set(b" \t\r\n\0"), line
            fields.append((name.decode("ascii").lower(), value.strip(b" \t").decode("latin-1")))
        return fields

    def head(self) -> Response:
        """A status line and its fields, 1xx too."""
        line = self._line().decode("latin-1")
        version, _, rest = line.partition(" ")
        status, _, reason = rest.partition(" ")
        assert version in ("HTTP/1.1", "HTTP/1.0"), line
        assert len(status) == 3 and status.isdigit(), line
        return Response(version, int(status), reason, self._fields())

    def response(self, method: str = "GET") -> Response:
        """The next final response with its body; 1xx ones before it are in `informational`."""
        before = []
        response = self.head()
        while response.status < 200:
            before.append(response)
            response = self.head()
        response.informational = before
        self.read_body(response, method)
        return response

    def read_body(self, response: Response, method: str = "GET") -> None:
        lengths = response.all("content-length")
        codings = response.all("transfer-encoding")
        assert len(lengths) <= 1 and codings in ([], ["chunked"]), response
        assert not (lengths and codings), response
        if response.status in (204, 304) or method == "HEAD":
            assert response.status == 304 or method == "HEAD" or (not lengths and not codings), response
            return
        if codings:
            while size := self._chunk_size():
                response.chunks.append(self.take(size))
                assert self.take(2) == b"\r\n"
            response.trailers = self._fields()
            response.body = b"".join(response.chunks)
        elif lengths:
            response.body = self.take(int(lengths[0]))
        else:
            response.body = self.rest()

    def rest_of_chunks(self) -> bytes:
        """What is left of a chunked body that was read in part."""
        pieces = []
        while size := self._chunk_size():
            pieces.append(self.take(size))
            assert self.take(2) == b"\r\n"
        assert self._fields() == []
        return b"".join(pieces)

    def _chunk_size(self) -> int:
        return int(self._line().decode("ascii"), 16)

    def rest(self) -> bytes:
        """Until the server's FIN."""
        pieces = [self.buffer]
        self.buffer = b""
        while data := self.socket.recv(1 << 20):
            pieces.append(data)
        return b"".join(pieces)

    def closed(self) -> bool:
        """Waits for the end of the connection; True if nothing came before it. A reset counts, too."""
        try:
            return self.rest() == b""
        except ConnectionResetError:
            return True

    def quiet(self, seconds: float = 0.2) -> bool:
        """True if nothing, not even a FIN, comes for so long."""
        if self.buffer:
            return False
        self.socket.settimeout(seconds)
        try:
            self.buffer = self.socket.recv(65536)
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(TIMEOUT)
        return False


def encode(
    method: str,
    path: str,
    headers: Iterable[tuple[str, str]] = (),
    body: bytes | None = None,
    version: str = "1.1",
) -> bytes:
    """A request; Host and Content-Length are added."""
    fields = list(headers)
    names = {name.lower() for name, _ in fields}
    if "host" not in names:
        fields.insert(0, ("host", "localhost"))
    if body is not None and not names & {"content-length", "transfer-encoding"}:
        fields.append(("content-length", str(len(body))))
    head = f"{method} {path} HTTP/{version}\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields) + "\r\n"
    return head.encode("latin-1") + (body or b"")
