"""`Config`: every option of a server, checked, and the application that it names."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import re
import socket
import sys
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from pyre import flags
from pyre import logging as pyre_logging
from pyre.compress import parse_compress, parse_types
from pyre.errors import AppLoadError, ConfigError
from pyre.importer import import_from_string
from pyre.interfaces import ASGI2Adapter, Interface, detect, is_factory
from pyre.logging import LOGGING_CONFIG, LogConfig
from pyre.loops import loop_factory
from pyre.paths import reachable
from pyre.sockets import Address, InheritedSocket, Listener, TcpAddress, UnixAddress, bind_all, parse_bind
from pyre.static import parse_static

logger = logging.getLogger("pyre.error")

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_FIELD_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
# They frame each response, and cannot be the same for all of them.
_FRAMING_HEADERS = frozenset(("connection", "content-length", "keep-alive", "trailer", "transfer-encoding", "upgrade"))


class Config:
    """The options of one server. Names and meanings are uvicorn's, unless `pyre.flags` says otherwise for an option.

    `app` is an ASGI or WSGI application, or a string that names one (see `pyre.importer`). Times are in seconds,
    sizes in bytes. An option whose feature is not built yet (`ssl_*`, `workers` > 1, WebSocket options) raises
    `NotBuiltError`; a value that cannot be used raises `ConfigError`.
    """

    def __init__(
        self,
        app: Callable[..., Any] | str,
        host: str | None = "127.0.0.1",
        port: int = 8000,
        *,
        uds: str | None = None,
        uds_permissions: int = 0o660,
        fd: int | None = None,
        bind: Iterable[str] | str | None = None,
        ipv6_only: bool = False,
        backlog: int = 2048,
        interface: str = "auto",
        factory: bool = False,
        app_dir: str | None = None,
        env_file: str | os.PathLike[str] | None = None,
        lifespan: str = "auto",
        loop: str = "auto",
        threads: int | None = None,
        root_path: str = "",
        reset_contextvars: bool = False,
        reload: bool = False,
        reload_dirs: Iterable[str] | str | None = None,
        reload_includes: Iterable[str] | str | None = None,
        reload_excludes: Iterable[str] | str | None = None,
        reload_delay: float = 0.25,
        workers: int | None = None,
        worker_mode: str = "process",
        worker_threads: int | None = None,
        lifespan_scope: str = "loop",
        timeout_worker_healthcheck: float | None = None,
        stop_event: str | None = None,
        limit_concurrency: int | None = None,
        limit_connections: int = 10_000,
        limit_max_requests: int | None = None,
        limit_max_requests_jitter: int = 0,
        limit_request_line: int = 8190,
        limit_request_fields: int = 100,
        limit_request_header_size: int = 64 * 1024,
        limit_request_body: int = 0,
        timeout_header: float = 10.0,
        timeout_body: float = 30.0,
        timeout_body_min_rate: int = 240,
        timeout_write: float = 60.0,
        timeout_keep_alive: float = 75.0,
        timeout_graceful_shutdown: float | None = 25.0,
        proxy_headers: bool = True,
        forwarded_allow_ips: Iterable[str] | str | None = None,
        server_header: bool = False,
        date_header: bool = True,
        headers: Iterable[tuple[str, str]] | None = None,
        log_level: str | int | None = None,
        log_config: LogConfig | None = LOGGING_CONFIG,
        log_format: str = "text",
        access_log: bool = True,
        use_colors: bool | None = None,
        http: str = "auto",
        http2: bool = False,
        ws: str = "auto",
        ws_max_size: int | None = None,
        ws_max_queue: int | None = None,
        ws_ping_interval: float | None = None,
        ws_ping_timeout: float | None = None,
        ws_per_message_deflate: bool | None = None,
        ssl_keyfile: str | os.PathLike[str] | None = None,
        ssl_certfile: str | os.PathLike[str] | None = None,
        ssl_keyfile_password: str | None = None,
        ssl_version: int | None = None,
        ssl_cert_reqs: int | None = None,
        ssl_ca_certs: str | os.PathLike[str] | None = None,
        ssl_ciphers: str | None = None,
        ssl_context_factory: Callable[..., Any] | None = None,
        h11_max_incomplete_event_size: int | None = None,
        io_threads: int = 0,
        reuse_port: bool = False,
        static: Iterable[str] | str | None = None,
        static_max_age: int | None = None,
        compress: Iterable[str] | str | None = None,
        compress_min_size: int = 1024,
        compress_types: Iterable[str] | str | None = None,
        timeout_notify: float = 30.0,
        callback_notify: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        options = {name: value for name, value in locals().items() if name != "self"}
        # What a process that is started anew (see reload.py) makes the same Config from.
        self.options: dict[str, Any] = options

        if ssl_context_factory is not None:
            options["ssl_certfile"] = ssl_certfile or "ssl_context_factory"
        warnings = flags.check(options)

        self.app = app
        self.host = host or ""
        self.port = port
        self.uds = uds
        self.uds_permissions = uds_permissions
        self.fd = fd
        self.bind = _texts(bind)
        self.ipv6_only = ipv6_only
        self.backlog = backlog
        self.interface = interface
        self.factory = factory
        self.app_dir = app_dir
        self.env_file = env_file
        self.lifespan = lifespan
        self.loop = loop
        self.threads = threads
        self.root_path = root_path
        self.reset_contextvars = reset_contextvars
        self.reload = reload
        self.reload_dirs = _texts(reload_dirs)
        self.reload_includes = _texts(reload_includes)
        self.reload_excludes = _texts(reload_excludes)
        self.reload_delay = reload_delay
        self.worker_mode = worker_mode
        self.worker_threads = worker_threads
        self.lifespan_scope = lifespan_scope
        self.stop_event = stop_event
        self.limit_concurrency = limit_concurrency
        self.limit_connections = limit_connections
        self.limit_max_requests = limit_max_requests
        self.limit_max_requests_jitter = limit_max_requests_jitter
        self.limit_request_line = limit_request_line
        self.limit_request_fields = limit_request_fields
        self.limit_request_header_size = limit_request_header_size
        self.limit_request_body = limit_request_body
        self.timeout_header = timeout_header
        self.timeout_body = timeout_body
        self.timeout_body_min_rate = timeout_body_min_rate
        self.timeout_write = timeout_write
        self.timeout_keep_alive = timeout_keep_alive
        self.timeout_graceful_shutdown = timeout_graceful_shutdown
        self.proxy_headers = proxy_headers
        self.server_header = server_header
        self.date_header = date_header
        self.headers = [(str(name), str(value)) for name, value in headers or ()]
        self.log_level = log_level
        self.log_config = log_config
        self.log_format = log_format
        self.access_log = access_log
        self.use_colors = use_colors
        self.io_threads = io_threads
        self.reuse_port = reuse_port
        self.static = parse_static(_texts(static))
        self.static_max_age = static_max_age
        self.compress = parse_compress(_texts(compress))
        self.compress_min_size = compress_min_size
        self.compress_types = parse_types(_texts(compress_types))
        self.timeout_notify = timeout_notify
        self.callback_notify = callback_notify

        self._validate()
        self.configure_logging()
        for warning in warnings:
            logger.warning("%s", warning)
        if not reload and (self.reload_dirs or self.reload_includes or self.reload_excludes):
            logger.warning("--reload-dir, --reload-include and --reload-exclude have no effect without --reload.")
        if env_file is not None and not self.should_reload:  # a reloader's child reads it anew each time
            _load_env_file(env_file)
        self.workers = _workers(workers)
        if forwarded_allow_ips is None:
            forwarded_allow_ips = os.environ.get("FORWARDED_ALLOW_IPS", flags.DEFAULT_FORWARDED_ALLOW_IPS)
        self.forwarded_allow_ips = ",".join(_texts(forwarded_allow_ips))

        self.loaded = False
        self.loaded_app: Any = None
        """The application as ASGI 3; after `load()`."""
        self.loaded_interface: Interface = "asgi3"
        """What `interface="auto"` found; after `load()`."""

    @property
    def should_reload(self) -> bool:
        """Whether a reloader starts the server: `reload` is on, and `app` is a string that another process can
        import."""
        return self.reload and isinstance(self.app, str)

    @property
    def use_subprocess(self) -> bool:
        """Whether the application runs in a process that `pyre.run()` starts."""
        return self.reload

    @property
    def is_ssl(self) -> bool:
        """Whether the server speaks TLS: not yet."""
        return False

    @property
    def asgi_version(self) -> str:
        """For `scope["asgi"]["version"]`."""
        return "2.0" if self.loaded_interface == "asgi2" else "3.0"

    def configure_logging(self) -> None:
        """Sets the loggers up. Raises `ConfigError`."""
        pyre_logging.configure(
            self.log_config, level=self.log_level, log_format=self.log_format, use_colors=self.use_colors
        )

    def load(self) -> None:
        """Imports or makes the application and adapts it to ASGI 3. Does nothing the second time.

        Raises `AppLoadError`.
        """
        if self.loaded:
            return
        app = self.load_app()
        self.loaded_interface = detect(app) if self.interface == "auto" else self.interface  # type: ignore[assignment]
        if self.loaded_interface == "wsgi":
            from pyre.wsgi import WSGIAdapter

            app = WSGIAdapter(app, self.threads)
            if self.lifespan == "auto":
                self.lifespan = "off"  # WSGI has none
        elif self.loaded_interface == "asgi2":
            app = ASGI2Adapter(app)
        if logging.getLogger("pyre.asgi").isEnabledFor(pyre_logging.TRACE):
            from pyre.trace import TraceMiddleware

            app = TraceMiddleware(app)
        self.loaded_app = app
        self.loaded = True

    def import_app(self) -> Any:
        """What `app` names: the application or its factory. Raises `AppLoadError`.

        `pyre.run()` does this before it starts the event loop, as some modules run a loop of their own while they are
        imported.
        """
        if not isinstance(self.app, str):
            return self.app
        self._search_app_dir()
        return import_from_string(self.app.removesuffix("()"))

    def load_app(self) -> Any:
        """The application as its author wrote it: imported, and made by its factory. Raises `AppLoadError`."""
        app = self.import_app()
        factory = self.factory or (isinstance(self.app, str) and self.app.endswith("()"))
        if not factory and is_factory(app):
            logger.warning("The application is a factory. Using it, but please set the --factory flag explicitly.")
            factory = True
        if factory:
            if not callable(app):
                raise AppLoadError(f"The application factory {self.app!r} is not callable.")
            try:
                app = app()
            except (Exception, SystemExit) as error:
                what = f"{type(error).__name__}: {error}".rstrip(": ")
                raise AppLoadError(f"The application factory failed: {what}.") from error
            if inspect.iscoroutine(app):
                app.close()
                raise AppLoadError("The application factory is an `async def`; it must be a plain function.")
        if not callable(app):
            raise AppLoadError(f"The application {self.app!r} is not callable, but {type(app).__name__!r}.")
        return app

    def get_loop_factory(self) -> Callable[[], asyncio.AbstractEventLoop] | None:
        """What makes the event loop; None leaves it to asyncio. Raises `ConfigError`."""
        if ":" in self.loop:
            self._search_app_dir()
        return loop_factory(self.loop)

    def addresses(self) -> list[Address]:
        """Where to listen. As in uvicorn `fd` goes before `uds`, and `uds` before `host` and `port`; `bind` excludes
        them all."""
        if self.bind:
            return [parse_bind(text) for text in self.bind]
        if self.fd is not None:
            return [InheritedSocket(self.fd)]
        if self.uds is not None:
            return [UnixAddress(self.uds)]
        return [TcpAddress(self.host, self.port)]

    def bind_sockets(self) -> list[Listener]:
        """Binds every address. Raises `BindError`."""
        return bind_all(
            self.addresses(),
            uds_permissions=self.uds_permissions,
            ipv6_only=self.ipv6_only,
            reuse_port=max(self.io_threads, 1) if self.reuse_port else 0,
        )

    def bind_socket(self) -> socket.socket:
        """Binds the address, the IPv4 one if a name has several, and returns its socket: to know the port before the
        server starts. Give it to `Server.run(sockets=[...])`, and close it afterwards. Raises `BindError`."""
        listeners = self.bind_sockets()
        chosen = next((item for item in listeners if item.sock.family == socket.AF_INET), listeners[0])
        for listener in listeners:
            if listener is not chosen:
                listener.close()
        logger.info("Pyre running on %s (Press CTRL+C to quit)", chosen.name, extra={"address": chosen.name})
        return chosen.sock

    def engine_options(self) -> dict[str, object]:
        """The options of `pyre._core.Engine` that follow from this Config alone."""
        own_headers = {name.lower() for name, _ in self.headers}
        return {
            "root_path": self.root_path,
            "scheme": "http",
            "server_header": "pyre" if self.server_header and "server" not in own_headers else "",
            "date_header": self.date_header and "date" not in own_headers,
            "default_headers": self.headers,
            "forwarded_allow_ips": self.forwarded_allow_ips if self.proxy_headers else "",
            "limit_concurrency": self.limit_concurrency or 0,
            "limit_request_line": self.limit_request_line,
            "limit_request_fields": self.limit_request_fields,
            "limit_request_header_size": self.limit_request_header_size,
            "limit_request_body": self.limit_request_body,
            "limit_connections": self.limit_connections,
            "timeout_header": self.timeout_header,
            "timeout_body": self.timeout_body,
            "timeout_body_min_rate": self.timeout_body_min_rate,
            "timeout_write": self.timeout_write,
            # 0 means "close after the response" in uvicorn; to the engine's timer wheel one tick is the same.
            "timeout_keep_alive": max(self.timeout_keep_alive, 0.001),
            "io_threads": self.io_threads,
            "static": [(route, os.fsencode(directory)) for route, directory in self.static],
            "static_max_age": -1 if self.static_max_age is None else self.static_max_age,
            "compress": self.compress,
            "compress_min_size": self.compress_min_size,
            "compress_types": self.compress_types,
            "io_wake": os.environ.get("PYRE_IO_WAKE", "auto"),  # not an option: for tests
        }

    def _search_app_dir(self) -> None:
        if self.app_dir is not None:
            directory = reachable(self.app_dir)
            if sys.path[:1] != [directory]:
                sys.path.insert(0, directory)

    def _validate(self) -> None:
        _one_of("--interface", self.interface, ("auto", "asgi3", "asgi2", "wsgi"))
        _one_of("--lifespan", self.lifespan, ("auto", "on", "off"))
        _one_of("--worker-mode", self.worker_mode, ("process", "thread"))
        _one_of("--lifespan-scope", self.lifespan_scope, ("loop", "process"))
        _one_of("--log-format", self.log_format, ("text", "json"))
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"--port {self.port}: it must be between 0 and 65535.")
        if self.bind and ((self.host, self.port, self.uds, self.fd) != ("127.0.0.1", 8000, None, None)):
            raise ConfigError("--bind cannot be used together with --host, --port, --uds or --fd.")
        self.addresses()
        if not 0 <= self.uds_permissions <= 0o777:
            raise ConfigError(f"--uds-permissions {self.uds_permissions:o}: it must be between 0 and 777.")
        for name in (
            "backlog",
            "limit_connections",
            "limit_request_line",
            "limit_request_fields",
            "limit_request_header_size",
        ):
            _at_least(name, getattr(self, name), 1)
        for name in ("limit_concurrency", "limit_max_requests", "threads", "worker_threads"):
            if getattr(self, name) is not None:
                _at_least(name, getattr(self, name), 1)
        for name in (
            "limit_max_requests_jitter",
            "compress_min_size",
            "io_threads",
            "limit_request_body",
            "timeout_body_min_rate",
            "timeout_keep_alive",
        ):
            _at_least(name, getattr(self, name), 0)
        if self.io_threads > 64:
            raise ConfigError(f"--io-threads {self.io_threads}: it must be 64 or less.")
        if self.worker_mode == "thread":
            for flag, given in (("--io-threads", self.io_threads), ("--reuse-port", self.reuse_port)):
                if given:
                    raise ConfigError(f"{flag} cannot be used together with --worker-mode thread.")
        elif self.worker_threads is not None or self.lifespan_scope != "loop":
            raise ConfigError("--worker-threads and --lifespan-scope need --worker-mode thread.")
        if self.worker_threads is not None and self.worker_threads > 64:  # loop_threads.MAX_LOOPS
            raise ConfigError(f"--worker-threads {self.worker_threads}: it must be 64 or less.")
        for name in ("timeout_header", "timeout_body", "timeout_write", "reload_delay"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"--{name.replace('_', '-')} must be more than 0: it cannot be switched off.")
        if self.static_max_age is not None and not 0 <= self.static_max_age <= 2**31:  # RFC 9111 1.2.2: enough for all
            raise ConfigError(f"--static-max-age {self.static_max_age}: it must be between 0 and {2**31}.")
        if self.timeout_graceful_shutdown is not None:
            _at_least("timeout_graceful_shutdown", self.timeout_graceful_shutdown, 0)
        if self.log_level is not None:
            pyre_logging.level_number(self.log_level)
        for name, value in self.headers:
            _check_header(name, value)


def _texts(value: Iterable[str] | str | None) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"{name} {value!r}: it must be one of {', '.join(choices)}.")


def _at_least(parameter: str, value: float, least: int) -> None:
    if value < least:
        raise ConfigError(f"--{parameter.replace('_', '-')} {value}: it must be {least} or more.")


def _check_header(name: str, value: str) -> None:
    if _TOKEN.fullmatch(name) is None:
        raise ConfigError(f"--header: {name!r} is not a header name.")
    if _FIELD_VALUE.fullmatch(value) is None or any(ord(character) > 0xFF for character in value):
        raise ConfigError(f"--header {name}: its value has characters that a header cannot have.")
    if name.lower() in _FRAMING_HEADERS:
        raise ConfigError(f"--header {name}: the server sets it for each response.")


def _workers(workers: int | None) -> int:
    if workers is not None:
        return max(workers, 1)
    text = os.environ.get("WEB_CONCURRENCY")
    if not text:
        return 1
    try:
        number = int(text)
    except ValueError:
        raise ConfigError(f"The environment variable WEB_CONCURRENCY is {text!r}; it must be a number.") from None
    try:
        flags.check({"workers": number})
    except ConfigError as error:
        raise type(error)(f"{error} (The environment variable WEB_CONCURRENCY asks for {number}.)") from None
    return max(number, 1)


def _load_env_file(path: str | os.PathLike[str]) -> None:
    import importlib

    try:
        dotenv: Any = importlib.import_module("dotenv")
    except ImportError:
        raise ConfigError("--env-file needs the package python-dotenv: pip install python-dotenv.") from None
    path = reachable(os.fspath(path))
    if not os.path.isfile(path):
        raise ConfigError(f"--env-file: there is no file {path!r}.")
    logger.info("Loading environment from '%s'", path)
    dotenv.load_dotenv(dotenv_path=path, encoding="utf-8-sig")  # editors on Windows put a mark at the beginning
