"""The table of servers: how each is started, which options it understands, and what versions it is made of."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from harness.process import BenchError, Child, Cores, process_tree

BENCH = Path(__file__).resolve().parent.parent
ROOT = BENCH.parent
APPS = BENCH / "apps"
START_SECONDS = 30.0
# The name of the large file in a run's temporary directory; the pathsend apps find it through this variable, too.
BENCH_FILE = "BENCH_FILE"
# The folder there of the files that are served as /static.
STATIC_FOLDER = "static"


@dataclass(frozen=True)
class Options:
    """What a scenario may ask of a server; each server translates it into its own flags."""

    app: str = "raw:app"
    loop: str = "uvloop"
    access_log: bool = False
    # Keep idle connections for longer than the measurement takes (uvicorn and hypercorn drop them after 5 s).
    keep_idle: bool = False
    # Accept more connections than the default limit allows.
    many_connections: bool = False
    io_threads: int = 0  # pyre only
    overflow: bool = False  # pyre only: an option of its engine, and of no command line
    compress: str = ""  # pyre only
    static: bool = False  # /static is answered with files
    every_core: bool = False  # not pinned to one: two threads of it can run at the same time
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Server:
    """One row of the table."""

    name: str
    command: Callable[[int, Options, Path], list[str]]
    available: Callable[[], bool]
    # False for the references that run no Python app: they only take part where the answer is the fixed 13 bytes.
    runs_apps: bool = True


_WITH_OVERFLOW = """\
from pyre.cli import main
from pyre.config import Config

options = Config.engine_options
Config.engine_options = lambda self: {**options(self), "overflow": True}
main()
"""


def _pyre(port: int, options: Options, work: Path) -> list[str]:
    how = ["-c", _WITH_OVERFLOW] if options.overflow else ["-m", "pyre"]
    command = [sys.executable, *how, options.app, "--host", "127.0.0.1", "--port", str(port)]
    command += ["--loop", options.loop]
    command.append("--access-log" if options.access_log else "--no-access-log")
    # Only a time-out longer than the default 75 s would need a flag; the default already keeps idle connections.
    if options.many_connections:
        command += ["--limit-connections", "20000"]
    if options.io_threads:
        command += ["--io-threads", str(options.io_threads)]
    if options.compress:
        command += ["--compress", options.compress]
    if options.static:
        command += ["--static", f"/static={work / STATIC_FOLDER}"]
    return command


def _uvicorn(port: int, options: Options, work: Path) -> list[str]:
    command = [sys.executable, "-m", "uvicorn", options.app, "--host", "127.0.0.1", "--port", str(port)]
    command += ["--loop", options.loop, "--http", "httptools"]
    command.append("--access-log" if options.access_log else "--no-access-log")
    if options.keep_idle:
        command += ["--timeout-keep-alive", "75"]
    return command


def _granian(port: int, options: Options, work: Path) -> list[str]:
    command = [_script("granian"), options.app, "--interface", "asgi", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--loop", options.loop, "--http", "1", "--workers", "1", "--no-ws"]
    command.append("--access-log" if options.access_log else "--no-access-log")
    if options.keep_idle or options.many_connections:
        # Its default accepts 1,024 connections per worker and no more.
        command += ["--backlog", "4096", "--backpressure", "20000", "--http1-header-read-timeout", "60000"]
    return command


def _hypercorn(port: int, options: Options, work: Path) -> list[str]:
    command = [_script("hypercorn"), options.app, "--bind", f"127.0.0.1:{port}", "--workers", "1"]
    command += ["--worker-class", options.loop]
    if options.access_log:
        command += ["--access-logfile", "-"]
    if options.keep_idle:
        command += ["--keep-alive", "75"]
    return command


def _bare(port: int, options: Options, work: Path) -> list[str]:
    return [str(build_tool("bare/bare_epoll.cpp")), str(port)]


def _bare_stream(port: int, options: Options, work: Path) -> list[str]:
    return [str(build_tool("bare/bare_stream.cpp")), str(port)]


NGINX_CONF = """\
worker_processes 1;
daemon off;
master_process off;
pid {work}/nginx.pid;
error_log {work}/nginx.err warn;
worker_rlimit_nofile 20000;
events {{ worker_connections 19000; multi_accept on; }}
http {{
  access_log off;
  default_type text/plain;
  keepalive_requests 1000000000;
  client_body_temp_path {work}; proxy_temp_path {work}; fastcgi_temp_path {work};
  uwsgi_temp_path {work}; scgi_temp_path {work};
  sendfile on; open_file_cache max=1000; open_file_cache_valid 1s;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ return 200 "Hello, world!"; }}
    location /static/ {{ root {work}; }}
  }}
}}
"""


def _nginx(port: int, options: Options, work: Path) -> list[str]:
    conf = work / "nginx.conf"
    conf.write_text(NGINX_CONF.format(work=work, port=port))
    return [_nginx_path() or "nginx", "-p", str(work), "-e", str(work / "nginx.err"), "-c", str(conf)]


def _script(name: str) -> str:
    """A console script of the running interpreter's environment, else one on the PATH."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else (shutil.which(name) or name)


def _nginx_path() -> str | None:
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


def _has_module(name: str) -> Callable[[], bool]:
    return lambda: importlib.util.find_spec(name) is not None


def _has_pyre() -> bool:
    if any((ROOT / "python" / "pyre").glob("_core*.so")):
        return True
    try:
        importlib.metadata.version("pyre-server")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


SERVERS: dict[str, Server] = {
    server.name: server
    for server in (
        Server("pyre", _pyre, _has_pyre),
        Server("uvicorn", _uvicorn, _has_module("uvicorn")),
        Server("granian", _granian, _has_module("granian")),
        Server("hypercorn", _hypercorn, _has_module("hypercorn")),
        Server("nginx", _nginx, lambda: _nginx_path() is not None, runs_apps=False),
        Server("bare", _bare, lambda: shutil.which("g++") is not None, runs_apps=False),
        Server("bare_stream", _bare_stream, lambda: shutil.which("g++") is not None, runs_apps=False),
    )
}


def build_tool(source: str) -> Path:
    """Compile one of the C++ programs of bench/ into build/bench, unless the binary is newer than its source."""
    path = BENCH / source
    binary = ROOT / "build" / "bench" / path.stem
    if not binary.exists() or binary.stat().st_mtime < path.stat().st_mtime:
        binary.parent.mkdir(parents=True, exist_ok=True)
        compiler = os.environ.get("CXX", "g++")
        command = [compiler, "-std=c++20", "-O2", "-Wall", "-Wextra", str(path), "-o", str(binary)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise BenchError(f"{source} does not compile:\n{done.stderr}")
    return binary


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@dataclass
class Running:
    """A server that has answered its first request."""

    server: Server
    options: Options
    child: Child
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def pids(self) -> list[int]:
        return process_tree(self.child.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.child.end()


def app_environment(extra: Mapping[str, str], work: Path) -> dict[str, str]:
    env = {key: value for key, value in os.environ.items() if not key.startswith(("PYRE_", "GRANIAN_", "UVICORN_"))}
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT / "python"), str(APPS)])
    env["PYTHONDONTWRITEBYTECODE"] = "1"
    if (work / BENCH_FILE).exists():
        env[BENCH_FILE] = str(work / BENCH_FILE)
    if (work / STATIC_FOLDER).exists():
        env["BENCH_STATIC"] = str(work / STATIC_FOLDER)
    env.update(extra)
    return env


def start(server: Server, options: Options, cores: Cores, work: Path, *, patience: float = START_SECONDS) -> Running:
    """Start the server on its core (or on all) and wait until GET / answers 200."""
    port = free_port()
    command = server.command(port, options, work)
    log = work / f"{server.name}-{port}.log"
    child = Child(
        command,
        core=None if options.every_core else cores.server,
        log=log,
        env=app_environment(options.env, work),
        cwd=APPS,
    )
    running = Running(server, options, child, port)
    until = time.monotonic() + patience
    try:
        while not _answers(port):
            if not child.alive() or time.monotonic() > until:
                why = "ended" if not child.alive() else f"did not answer within {patience:.0f} s"
                raise BenchError(f"{server.name} {why} at start-up: {' '.join(command)}\n{child.log_tail()}")
            time.sleep(0.05)
    except BaseException:
        child.end()
        raise
    return running


def get(port: int, path: str = "/", timeout: float = 5.0) -> bytes | None:
    """The body of one GET on a connection of its own, or None when it is not a 200."""
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()
    try:
        with socket.create_connection(("127.0.0.1", port), timeout) as sock:
            sock.settimeout(timeout)
            sock.sendall(request)
            data = b""
            while chunk := sock.recv(65536):
                data += chunk
                head, mark, body = data.partition(b"\r\n\r\n")
                # The bare loop knows no Connection: close, so the answer's own length decides where it ends.
                if mark and (length := _content_length(head)) is not None and len(body) >= length:
                    break
    except OSError:
        return None
    head, _, body = data.partition(b"\r\n\r\n")
    return body if head.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200")) else None


def _content_length(head: bytes) -> int | None:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return None


def _answers(port: int) -> bool:
    return get(port, timeout=2.0) is not None


def versions() -> dict[str, str]:
    # A profile-guided build is what distributions ship; a plain one shifts the balance between Python and the server.
    optimised = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    found = {"python": sys.version.split()[0] + (" (profile-guided build)" if optimised else " (plain build)")}
    packages = ("pyre-server", "uvicorn", "uvloop", "httptools", "granian", "hypercorn", "starlette", "fastapi")
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    for name, command in (("wrk", ["wrk", "-v"]), ("nginx", [_nginx_path() or "nginx", "-v"])):
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=5)
        except OSError:
            continue
        text = (done.stdout + done.stderr).splitlines()
        if text:
            found[name] = text[0].removeprefix("wrk ").removeprefix("nginx version: ").split(" [")[0]
    return found
