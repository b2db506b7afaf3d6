# Docstrings are here because the native module can have none that a type checker or an editor reads.
# ruff: noqa: PYI021
import asyncio
from collections.abc import Callable, Mapping
from typing import Any, final

__version__: str

def build_info() -> dict[str, str]:
    """How the extension was built: compiler, flags, versions of the libraries in it."""

def usable_cpus() -> int:
    """How many threads of this process can run at the same time: the affinity mask, and the control group's quota."""

class ClientDisconnected(OSError):
    """Raised by `await send()` once the client's connection is gone (ASGI spec_version 2.4)."""

class _pybind11_type(type): ...  # the metaclass of every class that pybind11 makes

@final
class LoopGroup(metaclass=_pybind11_type):
    """What the engines of several event loops share, each on a thread of its own: who serves a connection, the limits,
    the access log. Free-threaded Python only: RuntimeError elsewhere."""

    def __init__(
        self, loops: int, limit_connections: int, access_log_fd: int = -1, access_log_format: str = "text"
    ) -> None:
        """`loops`: 1 to 64, without the one that accepts. The file is not closed by the group."""

    @property
    def connections(self) -> int:
        """Open connections of all loops, those on their way from the one that accepts included."""

    def close(self) -> None:
        """Writes the log out. RuntimeError while an engine of the group is not closed."""

@final
class Engine(metaclass=_pybind11_type):
    """One HTTP server on one running asyncio loop. Every method must be called on the loop's thread, and raises
    RuntimeError elsewhere, but for stats().

    Each request's context is a copy of the context in which the Engine is made.
    """

    def __init__(self, app: Callable[..., Any], loop: asyncio.AbstractEventLoop, options: Mapping[str, object]) -> None:
        """`app` is an ASGI 3 application. An unknown option, or one of a wrong type, raises TypeError; a wrong value
        ValueError.

        Options, all optional: `root_path` str, `scheme` str, `state` dict | None (copied shallowly for each request),
        `server_header` str ("" for none), `date_header` bool, `default_headers` list[tuple[str, str]],
        `forwarded_allow_ips` str (by comma; "" ignores forwarded headers), `access_log_fd` int (-1: off; not closed
        by the engine), `access_log_format` "text" | "json", `limit_concurrency` int (requests; 0: none),
        `limit_request_line`, `limit_request_fields`, `limit_request_header_size`, `limit_request_body` (0: none),
        `limit_connections`: int; `timeout_header`, `timeout_body`, `timeout_write`, `timeout_keep_alive`: float
        seconds; `timeout_body_min_rate` int bytes/s (0: any); `limit_max_requests` int (0: none), `on_max_requests`
        () -> None (called once), `on_error` (BaseException, scope) -> None; `static` list[tuple[str, bytes]] of routes
        and directories (a directory that cannot be opened raises OSError), `static_max_age` int seconds (-1: no
        Cache-Control); `compress` list[tuple[str, int | None]] of codings ("gzip", "br", "zstd") in order of preference
        and their levels (ValueError if one is unknown, or this build has none), `compress_min_size` int bytes,
        `compress_types` list[str] of media types (empty: the usual ones); `io_threads` int: 0 hosts the I/O in `loop`,
        which must have add_reader, 1 to 64 on as many threads of its own, more raises ValueError; `io_wake` "auto" |
        "event" | "socket_pair": how those threads wake `loop`, by a handle that it watches or by a socket that it
        receives from; `group` LoopGroup | None, `group_index` int: the loops that this one is one of, and its number
        (the number of its loops is the one that only accepts): all are made before that one listens, with the group's
        limit of connections and log.
        `overflow` bool: experimental, without a flag, and off unless it is asked for: an I/O thread that is behind
        lets idle threads parse large request heads. Has no effect on one processor, or where `loop` hosts the I/O.
        """

    def listen(self, fd: int, unix: bool = False, io_thread: int = -1) -> None:
        """Begins to accept on a copy of the listening socket `fd`. Each client goes to the I/O thread that has
        fewest; with `io_thread` that thread accepts, and keeps what it accepts. Raises OSError, RuntimeError if there
        is no such thread."""

    def stop_listening(self) -> None:
        """Accepts no more; the copies of the listening sockets are closed."""

    def drain(self) -> None:
        """Closes idle connections, and each other one after its running response."""

    def abort(self) -> None:
        """Cancels every request's task and cuts all connections."""

    @property
    def listening(self) -> bool:
        """Whether clients may still be accepted, also by a listener that is being closed."""

    @property
    def idle(self) -> bool:
        """Whether no connection is left."""

    @property
    def active_requests(self) -> int:
        """Requests whose task has not ended."""

    @property
    def connections(self) -> int:
        """Open connections."""

    def wait_idle(self) -> asyncio.Future[None]:
        """A future that is done when `idle` is."""

    def stats(self) -> dict[str, Any]:
        """Counters since the start: int each, but for `loops`, which has those of the I/O one by one for each of its
        threads (a list of dicts), and `offload`, those of the threads that compress and parse for all loops of the
        process (a dict; `lag`: how many tasks waited for less than 50 us, 100 us, 200 us, ...). On a free-threaded
        Python any thread may ask; it gets those of the last tick."""

    def close(self) -> None:
        """Detaches from the loop, after abort() or when idle. The access log is written out."""
