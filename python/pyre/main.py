"""`run()`: serves an application with a process of its own, until it is told to end."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from pyre.config import Config
from pyre.errors import EXIT_APP_LOAD_FAILURE, EXIT_STARTUP_FAILURE, AppLoadError, ConfigError
from pyre.last_exit import exit_beside_threads  # not when it is needed: an import waits for every thread
from pyre.logging import LOGGING_CONFIG, LogConfig
from pyre.server import Server, log_load_error

logger = logging.getLogger("pyre.error")

in_reload_child = False
"""Set in the reloader's child, where the application is imported and nothing else is to be served."""

EXIT_INTERRUPTED = 130
"""Ctrl-C before the server had started: 128 + SIGINT, as shells have it."""


def run(
    app: Callable[..., Any] | str,
    *,
    host: str | None = "127.0.0.1",
    port: int = 8000,
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
    static: Iterable[str] | str | None = None,
    static_max_age: int | None = None,
    compress: Iterable[str] | str | None = None,
    compress_min_size: int = 1024,
    compress_types: Iterable[str] | str | None = None,
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
    timeout_notify: float = 30.0,
    callback_notify: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Serves `app` until SIGINT or SIGTERM (on Windows Ctrl-C, Ctrl-Break or `stop_event`). The options are those of
    `Config`, in seconds and bytes.

    With `reload`, `app` must be a string; the application then runs in a child process, which is replaced when files
    change.

    Raises `ConfigError` (`NotBuiltError`) for an option that cannot be used, and `SystemExit`: with 3 if the start-up
    fails, with 4 if the application cannot be loaded. It does not return, but ends the process after the `atexit`
    handlers have run, if with `worker_mode="thread"` a thread was left behind that hangs in the application.
    """
    options = dict(locals())
    if in_reload_child:
        raise ConfigError(
            "pyre.run() was called while the reloader's child imports the application. Put the call under "
            "`if __name__ == '__main__':`."
        )
    config = Config(options.pop("app"), **options)
    if config.reload:
        if not config.should_reload:
            logger.error("You must pass the application as an import string to enable 'reload'.")
            raise SystemExit(EXIT_STARTUP_FAILURE)
        from pyre.reload import Reloader

        Reloader(config).run()
        return
    run_server(make_server(config))


def make_server(config: Config) -> Server:
    """The server that `config` asks for."""
    if config.worker_mode == "thread":
        from pyre.loop_threads import ThreadServer

        return ThreadServer(config)
    return Server(config)


def run_server(server: Server, sockets: Any = None) -> None:
    """Runs `server` as the one thing that this process does."""
    server.reraise_signals = False  # after a graceful end the process goes on to its own end, with code 0
    failure: BaseException | None = None
    try:
        _serve(server, sockets)
    except BaseException as error:
        if not server.left_behind:
            raise
        failure = error
    if server.left_behind:
        exit_beside_threads(failure)


def _serve(server: Server, sockets: Any) -> None:
    try:
        server.config.import_app()
        server.run(sockets)
    except AppLoadError as error:
        log_load_error(error)
        raise SystemExit(EXIT_APP_LOAD_FAILURE) from None
    except KeyboardInterrupt:
        if not server.started:
            raise SystemExit(EXIT_INTERRUPTED) from None
