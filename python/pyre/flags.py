"""Every option: its flag, its keyword in `Config`, and whether it does what it says.

Three answers are possible for a value, and no fourth:

- *implemented*;
- *refused* (`NotBuiltError`; the command ends with exit code 2): the feature is not built yet, or this system does not
  have it, and serving without it would be a silent lie;
- *accepted*, with a warning: it chooses among implementations of which Pyre has one, or tunes something that cannot
  matter here.

The names and meanings are uvicorn 0.54's wherever it has the option. This module imports next to nothing, so that it
may be read on any path.
"""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Callable, Mapping
from typing import Any, Literal

from pyre.errors import NotBuiltError

Support = Literal["implemented", "refused", "accepted"]
Kind = Literal[
    "text", "integer", "number", "duration", "size", "mode", "choice", "switch", "toggle", "boolean", "path", "file"
]

IS_WINDOWS = sys.platform == "win32"

DEFAULT_FORWARDED_ALLOW_IPS = "127.0.0.1,::1,unix:"


class Flag:
    """One option.

    `kind`: `switch` is `--x`, `toggle` is `--x/--no-x`, `boolean` takes `true` or `false`, `path` must exist, `file`
    must be readable, `mode` is an octal file mode. `default` is Config's. `accepts` and `refuses` say, for a value
    that was given, the sentence to warn or to refuse with, or None.
    """

    __slots__ = (
        "about",
        "accepts",
        "choices",
        "default",
        "env",
        "kind",
        "multiple",
        "name",
        "parameter",
        "refuses",
        "short",
        "uvicorn",
    )

    def __init__(
        self,
        name: str,
        kind: Kind,
        default: Any,
        about: str,
        *,
        parameter: str | None = None,
        choices: tuple[str, ...] = (),
        multiple: bool = False,
        short: str | None = None,
        uvicorn: bool = True,
        refuses: Callable[[Any], str | None] | None = None,
        accepts: Callable[[Any], str | None] | None = None,
    ) -> None:
        self.name = name
        self.parameter = parameter or name.removeprefix("--").replace("-", "_")
        self.kind = kind
        self.default = default
        self.about = about
        self.choices = choices
        self.multiple = multiple
        self.short = short
        self.uvicorn = uvicorn
        self.refuses = refuses
        self.accepts = accepts
        # PYRE_<FLAG>; where uvicorn's keyword is a plural (--header, headers), that one too, as UVICORN_HEADERS has it.
        self.env = ["PYRE_" + name.removeprefix("--").replace("-", "_").upper()]
        plural = "PYRE_" + self.parameter.upper()
        if plural not in self.env:
            self.env.append(plural)

    def judge(self, value: Any) -> tuple[Support, str]:
        """What becomes of `value`, and the sentence that says why ("" if it is implemented)."""
        if value is None:
            return "implemented", ""
        if self.refuses is not None and (sentence := self.refuses(value)) is not None:
            return "refused", sentence
        if self.accepts is not None and (sentence := self.accepts(value)) is not None:
            return "accepted", sentence
        return "implemented", ""


def _always(sentence: str) -> Callable[[Any], str | None]:
    return lambda value: sentence


def _when_true(sentence: str) -> Callable[[Any], str | None]:
    return lambda value: sentence if value else None


_NO_TLS = "TLS is not built yet: end it in a proxy in front of Pyre."
_NO_WEBSOCKET = (
    "WebSocket is not built yet: leave the option out, or serve the application's WebSocket routes with another server."
)


_NO_UNIX_SOCKET = (
    "Python has no UNIX sockets on Windows: listen on --host 127.0.0.1 and a --port, which a proxy on this machine can "
    "reach as well."
)
_NO_INHERITED_SOCKET = (
    "On Windows sockets are no file descriptors and are not inherited by number: use --host and --port, or hand a "
    "socket over in Python, pyre.Server(config).run(sockets=[sock])."
)


def _refuse_on_windows(sentence: str) -> Callable[[Any], str | None]:
    return lambda value: sentence if IS_WINDOWS else None


def _refuse_bind(value: Any) -> str | None:
    texts = [value] if isinstance(value, str) else list(value)
    if IS_WINDOWS and any(text.startswith("unix:") for text in texts):
        return _NO_UNIX_SOCKET
    if IS_WINDOWS and any(text.startswith("fd://") for text in texts):
        return _NO_INHERITED_SOCKET
    return None


def _refuse_stop_event(value: str) -> str | None:
    if not IS_WINDOWS:
        return "Named events are there on Windows only: send SIGTERM, or SIGINT, instead."
    return None if value else "It needs a name."


def _refuse_reuse_port(value: bool) -> str | None:
    return "Windows has no SO_REUSEPORT: leave it out; --io-threads works without." if value and IS_WINDOWS else None


def _refuse_workers(value: int) -> str | None:
    return (
        "Several workers are not built yet: start one process for each core behind a proxy, or use 1."
        if value > 1
        else None
    )


def _refuse_threads(value: Any) -> str | None:
    if IS_WINDOWS:
        return "Not on Windows yet: an event loop there cannot watch the reactor, and needs a thread more for each."
    # The build, not the state: a module that was imported may have brought the GIL back, which thread mode says itself.
    if not sysconfig.get_config_var("Py_GIL_DISABLED"):
        return (
            "This Python has a GIL, so its threads would take turns, and several event loops would be in each other's "
            "way. Use a free-threaded build (python3.13t), or leave it out: --io-threads puts the I/O on other cores."
        )
    return None


def _refuse_http(value: str) -> str | None:
    if value in ("auto", "1", "h1", "h11", "httptools", "zttp"):
        return None
    if value in ("2", "h2"):
        return "HTTP/2 is not built yet."
    return "Protocol classes of your own are not supported: HTTP is served by Pyre's core."


def _accept_http(value: str) -> str | None:
    if value in ("auto", "1", "h1"):
        return None
    return "It chooses a parser of uvicorn's; Pyre has one of its own, and uses that."


def _refuse_ws(value: str) -> str | None:
    return None if value in ("auto", "none") else _NO_WEBSOCKET


_LEVELS = ("critical", "error", "warning", "info", "debug", "trace")

FLAGS: tuple[Flag, ...] = (
    # ---- where to listen
    Flag("--host", "text", "127.0.0.1", "Listen on this host. An empty one is every address, IPv4 and IPv6."),
    Flag("--port", "integer", 8000, "Listen on this port. 0 picks a free one."),
    Flag(
        "--uds",
        "text",
        None,
        "Listen on a UNIX domain socket. Not on Windows.",
        refuses=_refuse_on_windows(_NO_UNIX_SOCKET),
    ),
    Flag("--uds-permissions", "mode", 0o660, "The mode of the socket's file, octal.", uvicorn=False),
    Flag(
        "--fd",
        "integer",
        None,
        "Listen on a socket that is inherited as this file descriptor, of any family. Not on Windows.",
        refuses=_refuse_on_windows(_NO_INHERITED_SOCKET),
    ),
    Flag(
        "--bind",
        "text",
        None,
        "Listen on host:port, [v6]:port, unix:/path or fd://3. May be given several times; instead of --host, --port, "
        "--uds and --fd.",
        multiple=True,
        short="-b",
        uvicorn=False,
        refuses=_refuse_bind,
    ),
    Flag("--ipv6-only", "toggle", False, "Let `::` take IPv6 only. By default it takes IPv4 too.", uvicorn=False),
    Flag("--backlog", "integer", 2048, "Connections that may wait to be accepted."),
    # ---- the application
    Flag("--interface", "choice", "auto", "The application's interface.", choices=("auto", "asgi3", "asgi2", "wsgi")),
    Flag("--factory", "switch", False, "APP is a factory: a callable without arguments that returns the application."),
    Flag("--app-dir", "text", "", "Look for APP in this directory.  [default: the current directory]"),
    Flag("--env-file", "path", None, "Load environment variables from this file, before the application is imported."),
    Flag("--lifespan", "choice", "auto", "The application's lifespan.", choices=("auto", "on", "off")),
    Flag("--loop", "text", "auto", "The event loop: auto, asyncio, uvloop, winloop, none or module:factory."),
    Flag("--threads", "integer", None, "Threads for a WSGI application.  [default: min(32, cores + 4)]", uvicorn=False),
    Flag("--root-path", "text", "", "The ASGI root_path, for an application that a proxy serves below a path."),
    Flag("--reset-contextvars", "switch", False, "Run each request in an empty contextvars.Context."),
    # ---- development
    Flag(
        "--reload",
        "switch",
        False,
        "Start the application anew whenever its files change. What still runs then has 3 seconds.",
    ),
    Flag(
        "--reload-dir",
        "path",
        None,
        "Watch this directory instead of the current one.",
        parameter="reload_dirs",
        multiple=True,
    ),
    Flag(
        "--reload-include",
        "text",
        None,
        "Watch files of this glob pattern too. [default: *.py]",
        parameter="reload_includes",
        multiple=True,
    ),
    Flag(
        "--reload-exclude",
        "text",
        None,
        "Do not watch files of this glob pattern, or below this directory. [default: .*, .py[cod], .sw.*, ~*]",
        parameter="reload_excludes",
        multiple=True,
    ),
    Flag("--reload-delay", "duration", 0.25, "Time between two looks at the files."),
    # ---- processes
    Flag("--workers", "integer", None, "Worker processes.  [default: $WEB_CONCURRENCY or 1]", refuses=_refuse_workers),
    Flag(
        "--worker-mode",
        "choice",
        "process",
        "What a worker is. thread: one process has an event loop on each of several threads, which run Python at the "
        "same time; only on a free-threaded Python (3.13t or newer).",
        choices=("process", "thread"),
        uvicorn=False,
        refuses=lambda value: _refuse_threads(value) if value == "thread" else None,
    ),
    Flag(
        "--worker-threads",
        "integer",
        None,
        "Event loops of --worker-mode thread, at most 64.  [default: the processors that this process may use]",
        uvicorn=False,
        refuses=_refuse_threads,
    ),
    Flag(
        "--lifespan-scope",
        "choice",
        "loop",
        "With --worker-mode thread, whether the application's lifespan runs on each event loop, with a state of its "
        "own, or once for the process.",
        choices=("loop", "process"),
        uvicorn=False,
        refuses=lambda value: _refuse_threads(value) if value == "process" else None,
    ),
    Flag(
        "--timeout-worker-healthcheck",
        "duration",
        None,
        "How long a worker may take to answer a health check.",
        accepts=_always("It has no effect: there is one process, which nothing has to check."),
    ),
    Flag(
        "--stop-event",
        "text",
        None,
        "Windows: end when the event of this name is set, as by Ctrl-C; a second time hurries.",
        uvicorn=False,
        refuses=_refuse_stop_event,
    ),
    # ---- limits
    Flag("--limit-concurrency", "integer", None, "Requests at once; more get 503."),
    Flag("--limit-connections", "integer", 10_000, "Open connections; above it accepting pauses.", uvicorn=False),
    Flag("--limit-max-requests", "integer", None, "End the process after this many requests."),
    Flag("--limit-max-requests-jitter", "integer", 0, "Add a random number up to this to --limit-max-requests."),
    Flag("--limit-request-line", "size", 8190, "Length of a request line; a longer one gets 414.", uvicorn=False),
    Flag("--limit-request-fields", "integer", 100, "Header fields of a request; more get 431.", uvicorn=False),
    Flag("--limit-request-header-size", "size", 64 * 1024, "Size of a request's header; more gets 431.", uvicorn=False),
    Flag("--limit-request-body", "size", 0, "Size of a request's body; more gets 413. 0: no limit.", uvicorn=False),
    # ---- time-outs
    Flag("--timeout-header", "duration", 10.0, "Time for a whole request head to arrive.", uvicorn=False),
    Flag("--timeout-body", "duration", 30.0, "Time without a byte of an expected body.", uvicorn=False),
    Flag(
        "--timeout-body-min-rate", "integer", 240, "Bytes per second that a body must come at. 0: any.", uvicorn=False
    ),
    Flag(
        "--timeout-write", "duration", 60.0, "Time without a byte of the response taken by the client.", uvicorn=False
    ),
    Flag("--timeout-keep-alive", "duration", 75.0, "Time that an idle connection is kept."),
    Flag("--timeout-graceful-shutdown", "duration", 25.0, "Time for running requests to end when the server stops."),
    # ---- proxies and headers
    Flag(
        "--proxy-headers",
        "toggle",
        True,
        "Take client and scheme from X-Forwarded-For, X-Forwarded-Proto or Forwarded.",
    ),
    Flag(
        "--forwarded-allow-ips",
        "text",
        None,
        "Proxies whose headers are believed: addresses, networks, `unix:` and names, by comma; `*` is all. "
        f"[default: $FORWARDED_ALLOW_IPS or {DEFAULT_FORWARDED_ALLOW_IPS}]",
    ),
    Flag("--server-header", "toggle", False, "Send a Server header."),
    Flag("--date-header", "toggle", True, "Send a Date header."),
    Flag(
        "--header",
        "text",
        None,
        "Send this header, `Name: value`, with every response.",
        parameter="headers",
        multiple=True,
    ),
    # ---- static files
    Flag(
        "--static",
        "text",
        None,
        "Answer the paths below ROUTE with the files below DIR, without the application: /static=public. May be given "
        "several times. Below the route / only files that exist are taken from the application.",
        multiple=True,
        uvicorn=False,
    ),
    Flag(
        "--static-max-age",
        "integer",
        None,
        "Seconds that clients may keep a static file without asking again.  [default: no Cache-Control]",
        uvicorn=False,
    ),
    # ---- compression
    Flag(
        "--compress",
        "text",
        None,
        "Compress responses for clients who accept that: on, or codings in order of preference, each with a level if "
        "you like: zstd,br:5,gzip:6.  [default: off]",
        multiple=True,
        uvicorn=False,
    ),
    Flag("--compress-min-size", "size", 1024, "Shorter responses are sent as they are.", uvicorn=False),
    Flag(
        "--compress-types",
        "text",
        None,
        "Compress these media types only: text/*,application/json.  [default: text, JSON, XML, scripts, fonts]",
        multiple=True,
        uvicorn=False,
    ),
    # ---- logging
    Flag("--log-level", "choice", None, "The least level to log.  [default: info]", choices=_LEVELS),
    Flag("--log-config", "file", None, "A logging configuration: .json, .yaml or .ini."),
    Flag(
        "--log-format",
        "choice",
        "text",
        "How lines are written without --log-config.",
        choices=("text", "json"),
        uvicorn=False,
    ),
    Flag("--access-log", "toggle", True, "Log each request."),
    Flag("--use-colors", "toggle", None, "Colour the log.  [default: on a terminal]"),
    # ---- not built yet, or with nothing to choose
    Flag("--http", "text", "auto", "The HTTP implementation: auto.", refuses=_refuse_http, accepts=_accept_http),
    Flag("--http2", "switch", False, "HTTP/2.", refuses=_when_true("HTTP/2 is not built yet.")),
    Flag("--ws", "text", "auto", "The WebSocket implementation: auto or none.", refuses=_refuse_ws),
    Flag("--ws-max-size", "size", None, "Size of a WebSocket message.", refuses=_always(_NO_WEBSOCKET)),
    Flag(
        "--ws-max-queue", "integer", None, "Length of a WebSocket's queue of messages.", refuses=_always(_NO_WEBSOCKET)
    ),
    Flag("--ws-ping-interval", "duration", None, "Time between two WebSocket pings.", refuses=_always(_NO_WEBSOCKET)),
    Flag("--ws-ping-timeout", "duration", None, "Time for a WebSocket pong.", refuses=_always(_NO_WEBSOCKET)),
    Flag("--ws-per-message-deflate", "boolean", None, "WebSocket compression.", refuses=_when_true(_NO_WEBSOCKET)),
    Flag("--ssl-keyfile", "text", None, "TLS key.", refuses=_always(_NO_TLS)),
    Flag("--ssl-certfile", "text", None, "TLS certificate.", refuses=_always(_NO_TLS)),
    Flag("--ssl-keyfile-password", "text", None, "Password of the TLS key.", refuses=_always(_NO_TLS)),
    Flag("--ssl-version", "integer", None, "TLS version.", refuses=_always(_NO_TLS)),
    Flag("--ssl-cert-reqs", "integer", None, "Whether a client certificate is asked for.", refuses=_always(_NO_TLS)),
    Flag("--ssl-ca-certs", "text", None, "TLS certificate authorities.", refuses=_always(_NO_TLS)),
    Flag("--ssl-ciphers", "text", None, "TLS ciphers.", refuses=_always(_NO_TLS)),
    Flag(
        "--h11-max-incomplete-event-size",
        "integer",
        None,
        "A limit of the parser h11.",
        accepts=_always("It tunes the parser h11; see --limit-request-line and --limit-request-header-size instead."),
    ),
    Flag(
        "--io-threads",
        "integer",
        0,
        "Threads for I/O, at most 64. 0: it runs inside the event loop's thread, which costs least. 1 or more: on "
        "threads of their own, which accept, parse, refuse and time out while Python is busy; a connection goes to the "
        "one that has fewest. On Windows there is always one at least.",
        uvicorn=False,
    ),
    Flag(
        "--reuse-port",
        "switch",
        False,
        "Let other processes listen on the same TCP addresses (SO_REUSEPORT), and give each I/O thread a listener of "
        "its own: the kernel spreads the clients then. Those that wait where a process ends are reset. Not on Windows.",
        uvicorn=False,
        refuses=_refuse_reuse_port,
    ),
)

BY_PARAMETER: dict[str, Flag] = {flag.parameter: flag for flag in FLAGS}


def check(options: Mapping[str, Any]) -> list[str]:
    """Judges every option, by keyword. Returns the warnings to log; raises `NotBuiltError` with all that is refused."""
    warnings = []
    refusals = []
    for parameter, value in options.items():
        flag = BY_PARAMETER.get(parameter)
        if flag is None:
            continue
        support, sentence = flag.judge(value)
        if support == "refused":
            refusals.append(f"{flag.name}: {sentence}")
        elif support == "accepted":
            warnings.append(f"{flag.name}: {sentence}")
    if refusals:
        raise NotBuiltError("\n".join(refusals))
    return warnings
