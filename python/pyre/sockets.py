"""Listening sockets: what `--host/--port`, `--uds`, `--fd` and `--bind` mean.

All are close-on-exec and non-blocking. They are bound before the application's start-up, so that a busy port is known
at once, and listen after it: until then a client is refused, instead of waiting for an application that is not there
yet.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterable
from typing import Any, NamedTuple

from pyre.errors import BindError, ConfigError

_SAME_PORT_ATTEMPTS = 16  # port 0 on several addresses: how often another port is tried when one has it taken


class TcpAddress(NamedTuple):
    """`host` "" means every address, IPv6 and IPv4."""

    host: str
    port: int


class UnixAddress(NamedTuple):
    path: str


class InheritedSocket(NamedTuple):
    """A socket that is there already, of any family, listening or only bound."""

    fd: int


Address = TcpAddress | UnixAddress | InheritedSocket


class Listener:
    """A bound socket, and what has to be known to name it and to clean up after it.

    `name` is for people: `http://127.0.0.1:8000`, `unix:/run/app.sock` or `fd://3`. `unix_path` and `unix_inode` are
    those of a socket's file that we made; only that one is removed again.
    """

    __slots__ = ("name", "siblings", "sock", "unix_inode", "unix_path")

    def __init__(
        self,
        sock: socket.socket,
        name: str,
        unix_path: str | None = None,
        unix_inode: tuple[int, int] | None = None,
    ) -> None:
        self.sock = sock
        self.siblings: list[socket.socket] = []
        self.name = name
        self.unix_path = unix_path
        self.unix_inode = unix_inode

    @property
    def is_unix(self) -> bool:
        return self.sock.family == getattr(socket, "AF_UNIX", None)

    def listen(self, backlog: int) -> None:
        """Begins to take connections; on an inherited socket that listens already only the backlog changes.

        Raises `BindError`.
        """
        try:
            for sock in (self.sock, *self.siblings):
                sock.listen(backlog)
        except OSError as error:
            raise _bind_error(self.name, error) from error

    def add_siblings(self, count: int) -> None:
        """Binds `count` more sockets to the address of a TCP socket that has SO_REUSEPORT. Raises `BindError`."""
        only = self.sock.family == socket.AF_INET6 and self.sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        try:
            for _ in range(count):
                self.siblings.append(_bound(self.sock.family, self.sock.getsockname(), bool(only), reuse_port=True))
        except OSError as error:
            raise _bind_error(self.name, error) from error

    def close(self) -> None:
        """Closes our copy of the socket and removes the file of a unix socket that we made."""
        for sock in (self.sock, *self.siblings):
            sock.close()
        if self.unix_path is not None and self.unix_inode is not None:
            try:
                found = os.lstat(self.unix_path)
                if (found.st_dev, found.st_ino) == self.unix_inode:
                    os.unlink(self.unix_path)
            except OSError:
                pass
            self.unix_inode = None


def parse_bind(text: str) -> Address:
    """The address that `--bind` names: `host:port`, `[v6]:port`, `:port` (every address), `unix:/path`, `fd://3`.

    Raises `ConfigError`.
    """
    if text.startswith("unix:"):
        path = text.removeprefix("unix:").removeprefix("//")
        if not path:
            raise ConfigError(f"--bind {text}: the path is missing.")
        return UnixAddress(path)
    if text.startswith("fd://"):
        number = text.removeprefix("fd://")
        if not number.isascii() or not number.isdigit():
            raise ConfigError(f"--bind {text}: write fd://<number>.")
        return InheritedSocket(int(number))
    if "://" in text:
        raise ConfigError(f"--bind {text}: write host:port, [v6]:port, unix:/path or fd://number.")
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ConfigError(f"--bind {text}: write an IPv6 address in brackets, [::1]:8000 for example.")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ConfigError(
            f"--bind {text}: the port is missing or wrong; write host:port, [v6]:port, unix:/path or fd://number."
        )
    return TcpAddress(host, int(port))


def bind_all(
    addresses: Iterable[Address], *, uds_permissions: int = 0o660, ipv6_only: bool = False, reuse_port: int = 0
) -> list[Listener]:
    """Binds every address. Either all are bound, or none and `BindError` is raised. `reuse_port`: bind so many sockets
    with SO_REUSEPORT to each TCP address; 0: one without."""
    listeners: list[Listener] = []
    try:
        for address in addresses:
            if isinstance(address, TcpAddress):
                bound = _bind_tcp(address, ipv6_only, reuse_port > 0)
                listeners.extend(bound)
                for listener in bound:
                    listener.add_siblings(reuse_port - 1)
            elif isinstance(address, UnixAddress):
                listeners.append(_bind_unix(address.path, uds_permissions))
            else:
                listeners.append(_adopt(address.fd))
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def adopt_socket(sock: socket.socket) -> Listener:
    """A listener for a socket that the caller made and keeps: a copy is used, the original stays open."""
    copy = sock.dup()
    copy.setblocking(False)
    return Listener(copy, name_of(copy))


def name_of(sock: socket.socket) -> str:
    """`http://host:port` or `unix:/path` of a bound socket."""
    address = sock.getsockname()
    if isinstance(address, tuple) and len(address) >= 2:
        return f"http://{_host_for_url(address[0])}:{address[1]}"
    if isinstance(address, bytes):
        address = "@" + address.removeprefix(b"\0").decode(errors="replace")
    return f"unix:{address}"


def _host_for_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _bind_error(name: str, error: OSError) -> BindError:
    what = error.strerror or str(error)
    if error.errno == errno.EADDRINUSE:
        what = "the address is in use already"
    elif error.errno == errno.EACCES:
        what = "permission denied"
        if os.name == "nt":
            # WSAEACCES, for each of these.
            what = (
                "another program has this port for itself, or Windows has reserved it (netsh interface ipv4 show "
                "excludedportrange protocol=tcp)"
            )
    return BindError(error.errno or 0, f"Cannot listen on {name}: {what}.")


def _bind_tcp(address: TcpAddress, ipv6_only: bool, reuse_port: bool) -> list[Listener]:
    name = f"http://{_host_for_url(address.host or '*')}:{address.port}"
    if not address.host:
        # "Every address" is one dual-stack socket, so that IPv4 and IPv6 share one backlog, and one port when it is 0.
        try:
            return [_bind_one(socket.AF_INET6, ("::", address.port), "::", ipv6_only, reuse_port)]
        except OSError as error:
            if not _is_missing_family(error) or ipv6_only:
                raise _bind_error(name, error) from error
        address = TcpAddress("0.0.0.0", address.port)
    try:
        targets = _addresses(address)
    except (OSError, UnicodeError) as error:
        raise BindError(
            errno.EADDRNOTAVAIL, f"Cannot listen on {name}: {getattr(error, 'strerror', None) or error}."
        ) from error
    for attempt in range(_SAME_PORT_ATTEMPTS):
        try:
            return _bind_same_port(targets, address, ipv6_only, reuse_port)
        except OSError as error:
            if address.port != 0 or error.errno != errno.EADDRINUSE or attempt == _SAME_PORT_ATTEMPTS - 1:
                raise _bind_error(name, error) from error
    raise AssertionError("unreachable")


def _addresses(address: TcpAddress) -> list[tuple[int, tuple[Any, ...]]]:
    """(family, what bind() takes) for each address of the host. Raises OSError or UnicodeError."""
    try:
        infos = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror:
        # A minimal container has no /etc/hosts; the name is the loopback's whatever a resolver says (RFC 6761, 6.3).
        if address.host.lower() != "localhost":
            raise
        return [(socket.AF_INET, ("127.0.0.1", address.port)), (socket.AF_INET6, ("::1", address.port, 0, 0))]
    return list(dict.fromkeys((info[0], info[4]) for info in infos))


def _bind_same_port(
    targets: list[tuple[int, tuple[Any, ...]]], address: TcpAddress, ipv6_only: bool, reuse_port: bool
) -> list[Listener]:
    listeners: list[Listener] = []
    missing: OSError | None = None
    port = address.port
    try:
        for family, target in targets:
            try:
                listener = _bind_one(family, (target[0], port, *target[2:]), address.host, ipv6_only, reuse_port)
            except OSError as error:
                # `localhost` names ::1 also where IPv6 is switched off; one of the addresses is enough.
                if not _is_missing_family(error) or len(targets) == 1:
                    raise
                missing = error
                continue
            listeners.append(listener)
            port = port or listener.sock.getsockname()[1]
        if not listeners:
            raise missing or OSError(errno.EADDRNOTAVAIL, "no address")
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def _is_missing_family(error: OSError) -> bool:
    return error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT)


def _bind_one(family: int, target: tuple[Any, ...], host: str, ipv6_only: bool, reuse_port: bool) -> Listener:
    sock = _bound(family, target, ipv6_only or target[0] != "::", reuse_port=reuse_port)
    port = sock.getsockname()[1]
    shown = host if host in ("::", "0.0.0.0") or not host else str(target[0])
    return Listener(sock, f"http://{_host_for_url(shown)}:{port}")


def _bound(family: int, target: tuple[Any, ...], v6_only: bool, *, reuse_port: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        _claim(sock)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            # The system's default (net.ipv6.bindv6only) differs between machines: always say it.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(v6_only))
        sock.bind(target)
    except BaseException:
        sock.close()
        raise
    return sock


def _claim(sock: socket.socket) -> None:
    exclusive = getattr(socket, "SO_EXCLUSIVEADDRUSE", None)
    if exclusive is not None:
        # Windows, where SO_REUSEADDR lets a second program bind the same port and take clients away, and where without
        # either a program that sets SO_REUSEADDR could do that to us.
        sock.setsockopt(socket.SOL_SOCKET, exclusive, 1)
    else:
        # Without it a restart fails for a minute on connections in TIME_WAIT.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)


def _bind_unix(path: str, permissions: int) -> Listener:
    name = f"unix:{path}"
    if not hasattr(socket, "AF_UNIX"):
        raise BindError(errno.EAFNOSUPPORT, f"Cannot listen on {name}: this system's Python has no unix sockets.")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        _remove_stale(path)
        sock.bind(path)
        # Nobody can connect before listen(), so that there is no moment with the wrong mode.
        os.chmod(path, permissions)
        made = os.lstat(path)
    except OSError as error:
        sock.close()
        raise _bind_error(name, error) from error
    except BaseException:
        sock.close()
        raise
    return Listener(sock, name, os.path.abspath(path), (made.st_dev, made.st_ino))


def _remove_stale(path: str) -> None:
    """Removes a socket file that nobody listens on. A file of another kind, or a living server's, is left: bind()
    fails then."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return
    except OSError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except OSError:
            return  # EAGAIN: a listener with a full backlog; EACCES: not ours to judge


def _adopt(fd: int) -> Listener:
    name = f"fd://{fd}"
    try:
        sock = socket.socket(fileno=os.dup(fd))  # family and type are read from the socket; dup() is close-on-exec
    except OSError as error:
        raise _bind_error(name, error) from error
    try:
        os.set_inheritable(fd, False)  # an application's child process must not keep the port
        if sock.type != socket.SOCK_STREAM:
            raise BindError(errno.EPROTOTYPE, f"Cannot listen on {name}: it is not a stream socket.")
        sock.setblocking(False)
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            address = sock.getsockname()
            if not address or (isinstance(address, tuple) and address[1] == 0):
                raise BindError(errno.EINVAL, f"Cannot listen on {name}: it is neither listening nor bound.")
        return Listener(sock, f"{name} ({name_of(sock)})")
    except BindError:
        sock.close()
        raise
    except OSError as error:
        sock.close()
        raise _bind_error(name, error) from error
