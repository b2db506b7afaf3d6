"""The load generators, run in their own process on the client's core: wrk, http_load and connections.py."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from harness.process import BenchError, Child, Cores, Window
from harness.servers import BENCH, Running, build_tool

WRK = BENCH / "wrk"
# A run that has not ended this long after it should have is broken; it is killed and reported.
GRACE_SECONDS = 60.0

Metrics = dict[str, float]


@dataclass(frozen=True)
class Settings:
    """What the command line decides for all scenarios."""

    seconds: float
    warmup: float
    quick: bool
    cores: Cores
    work: Path


def _run(command: Sequence[str], settings: Settings, timeout: float, env: dict[str, str] | None = None) -> str:
    """Run a load generator to its end and return what it printed; the log keeps both streams."""
    log = settings.work / f"{Path(command[0]).name}.log"
    log.write_bytes(b"")
    with Child(command, core=settings.cores.client, log=log, env=env) as child:
        try:
            code = child.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise BenchError(f"{' '.join(command)} did not end within {timeout:.0f} s") from None
    output = log.read_text(errors="replace")
    if code != 0:
        raise BenchError(f"{' '.join(command)} ended with {code}:\n{output.strip()[-800:]}")
    return output


def wrk(
    running: Running,
    settings: Settings,
    *,
    path: str = "/",
    connections: int = 64,
    script: str = "report.lua",
    arguments: Sequence[str] = (),
) -> Metrics:
    """Warm the server up, then measure one counted wrk run: CPU per request of the server, rate and latency."""
    tool = shutil.which("wrk")
    if tool is None:
        raise BenchError("wrk is not installed")

    def once(seconds: float) -> dict[str, float]:
        whole = max(1, round(seconds))  # wrk takes whole seconds only
        command = [tool, "-t1", f"-c{connections}", f"-d{whole}s", "--timeout", "10s", "-s", str(WRK / script)]
        command += [running.url + path, "--", *arguments]
        env = {**os.environ, "BENCH_WRK_DIR": str(WRK)}
        for line in _run(command, settings, whole + GRACE_SECONDS, env).splitlines():
            if line.startswith("BENCH "):
                report: dict[str, float] = json.loads(line[6:])
                return report
        raise BenchError("wrk printed no report")

    warmed = once(settings.warmup)["requests"]
    window = Window(running.child, settings.cores)
    report = once(settings.seconds)
    window.close()
    errors = {key: report[key] for key in ("connect", "read", "write", "timeout", "status") if report[key] > 0}
    if errors or report["requests"] == 0:
        tail = running.child.log_tail()
        raise BenchError(f"wrk counted {report['requests']:.0f} requests and errors {errors}\n{tail}")
    requests = report["requests"]
    return {
        "requests": requests,
        "warmup_requests": warmed,
        "cpu_us": window.cpu / requests * 1e6,
        "rps": requests / report["duration_us"] * 1e6,
        "p50_us": report["p50_us"],
        "p99_us": report["p99_us"],
        "foreign_share": window.foreign_share,
    }


def http_load(running: Running, settings: Settings, *arguments: str, deadline: float = 120.0) -> dict[str, Any]:
    """One run of clients/http_load.cpp; its JSON report."""
    tool = build_tool("clients/http_load.cpp")
    command = [str(tool), "--port", str(running.port), "--deadline", str(deadline), *arguments]
    report: dict[str, Any] = json.loads(_run(command, settings, deadline + GRACE_SECONDS).splitlines()[-1])
    return report


class ConnectionsClient:
    """clients/connections.py, talked to by pipes: it reports, waits for a line, reports again and ends."""

    def __init__(self, running: Running, settings: Settings, mode: str, *arguments: str) -> None:
        command = [sys.executable, str(BENCH / "clients" / "connections.py"), mode, "--port", str(running.port)]
        log = settings.work / f"connections-{mode}.log"
        log.write_bytes(b"")
        self._child = Child([*command, *arguments], core=settings.cores.client, log=log, pipes=True)

    def report(self, meanwhile: Callable[[], None] | None = None) -> dict[str, float]:
        """The client's next report. `meanwhile` is called every 20 ms until it comes."""
        while meanwhile is not None and not select.select([self._child.stdout], [], [], 0.02)[0]:
            meanwhile()
        line = self._child.stdout.readline()
        if not line:
            raise BenchError(f"the client ended early:\n{self._child.log_tail()}")
        result: dict[str, float] = json.loads(line)
        return result

    def go_on(self) -> None:
        self._child.stdin.write(b"\n")
        self._child.stdin.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.end()
