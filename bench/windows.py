"""Pyre and its peers on a Windows CPython under Wine, side by side, loaded by wrk from Linux.

    ./scripts/setup windows && ./scripts/setup windows-python 3.11
    bench/windows.py                        5 rounds of 5 s each
    bench/windows.py --rounds 3 --seconds 2 --servers pyre,uvicorn

Rounds are interleaved; each measurement has a fresh server and a fresh Wine server in the same prefix. It prints one
Markdown table: medians with their spread, and the ratio to uvicorn. The CPU time is that of every process of the
prefix, Wine's server (which is Windows' kernel here) included. What a request costs on Windows itself it cannot tell:
only how the servers compare on the same system calls.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness import session
from harness.load import WRK
from harness.process import BenchError, Child, Cores, cpu_seconds
from harness.servers import APPS, ROOT, free_port, get

PREFIX = ROOT / "build/wine"
BUILD = ROOT / "build/windows-py311"
PEERS = BUILD / "peers"
START_SECONDS = 60.0  # the first start of a prefix brings up Wine's services

COMMANDS: dict[str, Callable[[str, int], list[str]]] = {
    "pyre": lambda app, port: ["pyre", app, "--port", str(port), "--loop", "asyncio", "--no-access-log"],
    "pyre winloop": lambda app, port: ["pyre", app, "--port", str(port), "--loop", "winloop", "--no-access-log"],
    "uvicorn": lambda app, port: ["uvicorn", app, "--port", str(port), "--http", "httptools", "--no-access-log"],
    "granian": lambda app, port: [
        *["granian", app, "--interface", "asgi", "--host", "127.0.0.1", "--port", str(port)],
        *["--http", "1", "--workers", "1", "--no-ws"],
    ],
}


@dataclass(frozen=True)
class Load:
    title: str
    app: str
    connections: int
    path: str = "/"
    script: str = "report.lua"
    arguments: tuple[str, ...] = ()


LOADS = {
    "raw": Load("raw ASGI, 64 connections", "raw:app", 64),
    "one": Load("raw ASGI, one connection", "raw:app", 1),
    "post": Load("POST of 1 KiB, 64 connections", "post_echo:app", 64, script="post.lua", arguments=("1024",)),
    "fastapi": Load("FastAPI `def` handler, 64 connections", "fastapi_app:app", 64, path="/def"),
}


def need_peers() -> None:
    """uvicorn and granian as wheels for Windows, beside what ./scripts/setup windows-python has brought."""
    if PEERS.exists():
        return
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(PEERS), "--no-deps"]
    target = ["--platform", "win_amd64", "--implementation", "cp", "--python-version", "3.11", "--only-binary=:all:"]
    wanted = ["-c", str(ROOT / "requirements/constraints.txt"), "uvicorn", "httptools", "granian"]
    try:
        subprocess.run([*pip, *target, *wanted], check=True)
    except subprocess.CalledProcessError:
        shutil.rmtree(PEERS, ignore_errors=True)
        raise


def wine_pids() -> list[int]:
    """The processes of our prefix. Wine's have no parent that we could follow."""
    mark = f"WINEPREFIX={PREFIX}".encode()
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                if mark in Path(f"/proc/{entry}/environ").read_bytes().split(b"\0"):
                    found.append(int(entry))
            except OSError:
                continue
    return found


def run_wrk(load: Load, port: int, seconds: float, core: int, log: Path) -> dict[str, float]:
    whole = max(1, round(seconds))
    command = ["wrk", "-t1", f"-c{load.connections}", f"-d{whole}s", "--timeout", "10s", "-s", str(WRK / load.script)]
    command += [f"http://127.0.0.1:{port}{load.path}", "--", *load.arguments]
    log.write_bytes(b"")
    with Child(command, core=core, log=log, env={**os.environ, "BENCH_WRK_DIR": str(WRK)}) as child:
        child.popen.wait(whole + 60)
    for line in log.read_text(errors="replace").splitlines():
        if line.startswith("BENCH "):
            report: dict[str, float] = json.loads(line[6:])
            errors = {key: report[key] for key in ("connect", "read", "write", "timeout", "status") if report[key] > 0}
            if errors:
                raise BenchError(f"wrk counted errors: {errors}")
            return report
    raise BenchError(f"wrk printed no report: {log.read_text(errors='replace')[-500:]}")


def measure(server: str, load: Load, args: argparse.Namespace, cores: Cores, work: Path) -> dict[str, float]:
    port = free_port()
    command = [str(ROOT / "scripts/under-wine"), "wine", str(BUILD / "home/python.exe"), "-m"]
    command += COMMANDS[server](load.app, port)
    paths = [BUILD / "python", BUILD / "site-packages", PEERS, APPS]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYRE_"))}
    environment["PYTHONPATH"] = ";".join(f"Z:{path}" for path in paths)
    (work / "server.log").write_bytes(b"")
    # No file may be the output of a Windows Python under Wine.
    shell = ["bash", "-c", '"$@" 2>&1 | cat', "bash", *command]
    with Child(shell, core=cores.server, log=work / "server.log", env=environment, cwd=APPS) as child:
        try:
            until = time.monotonic() + START_SECONDS
            while get(port, load.path if load.script == "report.lua" else "/", timeout=2.0) is None:
                if not child.alive() or time.monotonic() > until:
                    raise BenchError(f"{server} did not start:\n{child.log_tail()}")
                time.sleep(0.1)
            run_wrk(load, port, args.warmup, cores.client, work / "wrk.log")
            pids = wine_pids()
            before = cpu_seconds(pids)
            report = run_wrk(load, port, args.seconds, cores.client, work / "wrk.log")
            used = cpu_seconds(pids) - before
        finally:
            environment["WINEPREFIX"] = str(PREFIX)
            subprocess.run(["wineserver", "-k"], env=environment, check=False, stderr=subprocess.DEVNULL)
    return {
        "requests/s": report["requests"] / report["duration_us"] * 1e6,
        "CPU us/request": used / report["requests"] * 1e6,
        "p50 us": report["p50_us"],
        "p99 us": report["p99_us"],
    }


def rows(load: Load, samples: dict[str, list[dict[str, float]]]) -> list[str]:
    out = []
    title = load.title
    for figure in ("requests/s", "CPU us/request", "p50 us", "p99 us"):
        peer = samples.get("uvicorn")
        cells = []
        for server in samples:
            values = [sample[figure] for sample in samples[server]]
            cell = f"{statistics.median(values):,.0f} ({min(values):,.0f}..{max(values):,.0f})"
            if peer and server != "uvicorn":
                cell += f" {statistics.median(values) / statistics.median(s[figure] for s in peer):.2f}x"
            cells.append(cell)
        out.append(f"| {title} | {figure} | " + " | ".join(cells) + " |")
        title = ""
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--warmup", type=float, default=1.0)
    parser.add_argument("--servers", default=",".join(COMMANDS), help="comma-separated: " + ", ".join(COMMANDS))
    parser.add_argument("--only", default=",".join(LOADS), help="comma-separated: " + ", ".join(LOADS))
    args = parser.parse_args()
    servers = args.servers.split(",")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    need_peers()
    cores = Cores.choose()
    print("| load | figure | " + " | ".join(servers) + " |\n|---|---|" + "---:|" * len(servers))

    def body(work: Path) -> None:
        for name in args.only.split(","):
            samples: dict[str, list[dict[str, float]]] = {server: [] for server in servers}
            for number in range(1, args.rounds + 1):
                for server in servers:
                    samples[server].append(measure(server, LOADS[name], args, cores, work))
                    figures = "  ".join(f"{key}={value:,.0f}" for key, value in samples[server][-1].items())
                    print(f"  {name} round {number} {server:<13} {figures}", file=sys.stderr, flush=True)
            print("\n".join(rows(LOADS[name], samples)), flush=True)

    return session.run("windows.py", body)


if __name__ == "__main__":
    sys.exit(main())
