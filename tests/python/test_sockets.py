from __future__ import annotations

import os
import re
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pyre.errors import BindError, ConfigError
from pyre.sockets import Address, InheritedSocket, Listener, TcpAddress, UnixAddress, adopt_socket, bind_all, parse_bind

HAS_IPV6 = True
try:
    socket.socket(socket.AF_INET6).close()
    with socket.socket(socket.AF_INET6) as _probe:
        _probe.bind(("::1", 0))
except OSError:
    HAS_IPV6 = False
IS_WINDOWS = os.name == "nt"
AF_UNIX = getattr(socket, "AF_UNIX", None)
needs_unix = pytest.mark.skipif(AF_UNIX is None, reason="this system's Python has no AF_UNIX")
needs_ipv6 = pytest.mark.skipif(not HAS_IPV6, reason="this machine has no IPv6")


@contextmanager
def bound(*addresses: Address, **options: int) -> Iterator[list[Listener]]:
    listeners = bind_all(addresses, **options)  # type: ignore[arg-type]
    try:
        yield listeners
    finally:
        for listener in listeners:
            listener.close()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:80", TcpAddress("127.0.0.1", 80)),
        ("localhost:0", TcpAddress("localhost", 0)),
        ("[::1]:8000", TcpAddress("::1", 8000)),
        (":8000", TcpAddress("", 8000)),
        ("unix:/run/app.sock", UnixAddress("/run/app.sock")),
        ("unix:app.sock", UnixAddress("app.sock")),
        ("unix:///run/app.sock", UnixAddress("/run/app.sock")),
        ("fd://3", InheritedSocket(3)),
    ],
)
def test_bind_syntax(text: str, address: Address) -> None:
    assert parse_bind(text) == address


@pytest.mark.parametrize(
    "text",
    ["", "80", "host", "host:", "host:x", "host:-1", "host:65536", "::1:80", "unix:", "fd://", "fd://x", "tcp://a:1"],
)
def test_what_is_no_bind(text: str) -> None:
    with pytest.raises(ConfigError, match="--bind"):
        parse_bind(text)


def test_port_0_picks_one_and_names_it() -> None:
    with bound(TcpAddress("127.0.0.1", 0)) as [listener]:
        port = listener.sock.getsockname()[1]
        assert port > 0
        assert listener.name == f"http://127.0.0.1:{port}"


def test_sockets_are_non_blocking_and_close_on_exec(tmp_path: Path) -> None:
    unix: list[Address] = [] if AF_UNIX is None else [UnixAddress(str(tmp_path / "s"))]
    with bound(TcpAddress("127.0.0.1", 0), *unix) as listeners:
        for listener in listeners:
            assert not listener.sock.getblocking()
            assert not listener.sock.get_inheritable()


def test_nothing_is_accepted_before_listen() -> None:
    with bound(TcpAddress("127.0.0.1", 0)) as [listener]:
        address = listener.sock.getsockname()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, timeout=5)
        listener.listen(16)
        socket.create_connection(address, timeout=5).close()


def test_a_busy_port_is_known_at_once_and_nothing_stays_bound() -> None:
    with socket.socket() as other, socket.socket() as free:
        other.bind(("127.0.0.1", 0))
        other.listen()
        free.bind(("127.0.0.1", 0))
        free_port = free.getsockname()[1]
        free.close()
        busy = TcpAddress("127.0.0.1", other.getsockname()[1])
        with pytest.raises(BindError) as caught:
            bind_all([TcpAddress("127.0.0.1", free_port), busy])
        assert f"Cannot listen on http://127.0.0.1:{busy.port}: " in str(caught.value)
        assert re.search("the address is in use already|another program has this port", str(caught.value))
        with bound(TcpAddress("127.0.0.1", free_port)):
            pass


def test_an_unknown_host_is_named() -> None:
    with pytest.raises(BindError, match=r"Cannot listen on http://no-such-host\.invalid:80"):
        bind_all([TcpAddress("no-such-host.invalid", 80)])


def test_localhost_is_each_of_its_addresses_on_one_port() -> None:
    with bound(TcpAddress("localhost", 0)) as listeners:
        assert len({listener.sock.getsockname()[1] for listener in listeners}) == 1


def test_localhost_is_the_loopback_where_nothing_resolves_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*arguments: object, **more: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nothing)
    with bound(TcpAddress("localhost", 0)) as listeners:
        assert listeners[0].sock.getsockname()[0] == "127.0.0.1"
        assert len({listener.sock.getsockname()[1] for listener in listeners}) == 1


def _reaches(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError:
        return False
    return True


@needs_ipv6
@pytest.mark.parametrize("host", ["::", ""])
def test_every_address_is_dual_stack(host: str) -> None:
    with bound(TcpAddress(host, 0)) as [listener]:
        listener.listen(16)
        port = listener.sock.getsockname()[1]
        assert _reaches("127.0.0.1", port)
        assert _reaches("::1", port)


@needs_ipv6
@pytest.mark.parametrize("host", ["::", ""])
def test_ipv6_only_is_that(host: str) -> None:
    with bound(TcpAddress(host, 0), ipv6_only=True) as [listener]:
        listener.listen(16)
        port = listener.sock.getsockname()[1]
        assert not _reaches("127.0.0.1", port)
        assert _reaches("::1", port)


@needs_ipv6
def test_an_ipv6_host_is_shown_in_brackets() -> None:
    with bound(TcpAddress("::1", 0)) as [listener]:
        assert listener.name == f"http://[::1]:{listener.sock.getsockname()[1]}"


@needs_unix
@pytest.mark.parametrize("mode", [0o660, 0o600, 0o666])
def test_unix_socket_mode_whatever_the_umask(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    before = os.umask(0o077)
    try:
        with bound(UnixAddress(str(path)), uds_permissions=mode) as [listener]:
            assert stat.S_IMODE(path.stat().st_mode) == mode
            assert listener.is_unix
            assert listener.name == f"unix:{path}"
    finally:
        os.umask(before)
    assert not path.exists()


@needs_unix
def test_a_stale_unix_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with socket.socket(AF_UNIX or -1) as dead:
        dead.bind(str(path))
        dead.listen()
    assert path.exists()
    with bound(UnixAddress(str(path))):
        pass


@needs_unix
def test_a_living_unix_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with socket.socket(AF_UNIX or -1) as living:
        living.bind(str(path))
        living.listen()
        with pytest.raises(BindError, match="in use"):
            bind_all([UnixAddress(str(path))])
        assert path.exists()
        with socket.socket(AF_UNIX or -1) as client:
            client.connect(str(path))


@needs_unix
def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    path.write_text("important")
    with pytest.raises(BindError, match="in use"):
        bind_all([UnixAddress(str(path))])
    assert path.read_text() == "important"


@needs_unix
def test_closing_leaves_the_file_of_a_successor(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    [first] = bind_all([UnixAddress(str(path))])
    path.unlink()
    with bound(UnixAddress(str(path))):
        first.close()
        assert path.exists()


@needs_unix
@pytest.mark.parametrize("listening", [True, False])
@pytest.mark.parametrize("family", [socket.AF_INET, AF_UNIX])
def test_an_inherited_socket_of_any_family(family: socket.AddressFamily, listening: bool, tmp_path: Path) -> None:
    with socket.socket(family) as sock:
        sock.bind(str(tmp_path / "s") if family == AF_UNIX else ("127.0.0.1", 0))
        if listening:
            sock.listen()
        os.set_inheritable(sock.fileno(), True)
        with bound(InheritedSocket(sock.fileno())) as [listener]:
            assert listener.sock.family == family
            assert listener.is_unix == (family == AF_UNIX)
            assert listener.name.startswith(f"fd://{sock.fileno()} (")
            assert not os.get_inheritable(sock.fileno())
            listener.listen(16)
    if family == AF_UNIX:
        assert (tmp_path / "s").exists()  # not ours to remove


@needs_unix
def test_an_inherited_fd_that_cannot_be_served(tmp_path: Path) -> None:
    with pytest.raises(BindError, match="fd://987654"):
        bind_all([InheritedSocket(987654)])
    with (tmp_path / "file").open("w") as file, pytest.raises(BindError, match=r"fd://\d+"):
        bind_all([InheritedSocket(file.fileno())])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, pytest.raises(BindError, match="stream"):
        bind_all([InheritedSocket(sock.fileno())])
    with socket.socket() as sock, pytest.raises(BindError, match="neither listening nor bound"):
        bind_all([InheritedSocket(sock.fileno())])


def test_an_adopted_socket_stays_the_callers() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        listener = adopt_socket(sock)
        listener.close()
        assert sock.getsockname()[1] > 0


@pytest.mark.skipif(not IS_WINDOWS, reason="elsewhere SO_REUSEADDR does not share a listening port")
@pytest.mark.parametrize("host", ["127.0.0.1", "::"])
def test_on_windows_nobody_can_take_the_port_over(host: str) -> None:
    with bound(TcpAddress(host, 0)) as [listener]:
        exclusive: int = getattr(socket, "SO_EXCLUSIVEADDRUSE")  # noqa: B009 (elsewhere mypy knows none)
        assert listener.sock.getsockopt(socket.SOL_SOCKET, exclusive) != 0
        assert listener.sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 0
        listener.listen(16)
        with socket.socket(listener.sock.family) as thief:
            thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with pytest.raises(OSError, match=r"100(13|48)"):
                thief.bind(listener.sock.getsockname())


@pytest.mark.skipif(AF_UNIX is not None, reason="this system's Python has AF_UNIX")
def test_without_unix_sockets_the_path_is_named_and_nothing_is_made(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with pytest.raises(BindError, match="has no unix sockets"):
        bind_all([UnixAddress(str(path))])
    assert not path.exists()
