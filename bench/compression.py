"""Response compression: --compress beside GZipMiddleware under uvicorn, on every core of the machine.

    bench/compression.py                       5 rounds of 4 s each
    bench/compression.py --rounds 3 --seconds 2

100 KB of JSON, 16 connections; each server may use every core, which it shares with wrk. First with the same coding and
level, gzip 6, then each with its defaults, for a client that accepts gzip only and for one that accepts what browsers
do. Then small uncompressed requests, 4 connections, while 8 others ask for the JSON: how long do they wait? Rounds are
interleaved; it prints one Markdown table: medians with their spread, and the ratio to uvicorn.
"""

from __future__ import annotations

import argparse
import http.client
import os
import shutil
import statistics
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness import session
from harness.load import WRK, Metrics, Settings, wrk
from harness.process import Cores, raise_file_limit
from harness.servers import SERVERS, Options, Running, start

BROWSER = "gzip, deflate, br, zstd"


@dataclass(frozen=True)
class Case:
    label: str
    server: str
    app: str
    accept: str
    compress: str = ""
    io_threads: int = 0


@dataclass(frozen=True)
class Table:
    title: str
    cases: tuple[Case, ...]
    small: bool = False


TABLES = (
    Table(
        "the same: gzip, level 6",
        (
            Case("uvicorn", "uvicorn", "gzip_6", "gzip"),
            Case("pyre", "pyre", "app", "gzip", "gzip:6"),
            Case("pyre --io-threads 1", "pyre", "app", "gzip", "gzip:6", 1),
        ),
    ),
    Table(
        "defaults",
        (
            Case("uvicorn, gzip", "uvicorn", "gzip_default", "gzip"),
            Case("pyre, gzip", "pyre", "app", "gzip", "on"),
            Case("uvicorn, browser", "uvicorn", "gzip_default", BROWSER),
            Case("pyre, browser", "pyre", "app", BROWSER, "on"),
        ),
    ),
    Table(
        "small requests beside it, gzip 6",
        (
            Case("uvicorn", "uvicorn", "gzip_6", "gzip"),
            Case("pyre", "pyre", "app", "gzip", "gzip:6"),
            Case("pyre --io-threads 1", "pyre", "app", "gzip", "gzip:6", 1),
        ),
        small=True,
    ),
)
METRICS = (
    ("rps", "requests/s", 0),
    ("cpu_us", "CPU us/request", 0),
    ("p99_us", "p99 us", 0),
    ("size", "bytes sent", 0),
)


def body_size(running: Running, accept: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=10)
    try:
        connection.request("GET", "/", headers={"Accept-Encoding": accept})
        return len(connection.getresponse().read())
    finally:
        connection.close()


def measure(case: Case, small: bool, settings: Settings) -> Metrics:
    app = f"compress_app:{case.app}"
    options = Options(app, io_threads=case.io_threads, compress=case.compress, every_core=True)
    with ExitStack() as stack:
        running = stack.enter_context(start(SERVERS[case.server], options, settings.cores, settings.work))
        size = body_size(running, case.accept)
        if not small:
            metrics = wrk(running, settings, connections=16, script="accept.lua", arguments=[case.accept])
            return {**metrics, "size": size}
        seconds = round(settings.warmup + settings.seconds) + 2
        command = [
            shutil.which("wrk") or "wrk",
            "-t1",
            "-c8",
            f"-d{seconds}s",
            "-s",
            str(WRK / "accept.lua"),
            running.url,
        ]
        env = {**os.environ, "BENCH_WRK_DIR": str(WRK)}
        beside = subprocess.Popen([*command, "--", case.accept], env=env, stdout=subprocess.DEVNULL)
        try:
            return {**wrk(running, settings, path="/small", connections=4), "size": size}
        finally:
            beside.kill()
            beside.wait()


def rows(table: Table, samples: list[list[Metrics]]) -> list[str]:
    lines = []
    peers = {0: 0, 1: 0, 2: 0} if table.title != "defaults" else {0: 0, 1: 0, 2: 2, 3: 2}
    for metric, heading, decimals in METRICS:
        if table.small and metric in ("cpu_us", "size"):
            continue
        medians = [statistics.median(sample[metric] for sample in values) for values in samples]
        cells = []
        for i, (values, median) in enumerate(zip(samples, medians, strict=True)):
            low, high = (pick(sample[metric] for sample in values) for pick in (min, max))
            ratio = "" if peers[i] == i else f" {median / medians[peers[i]]:.2f}x"
            spread = "" if low == high else f" ({low:,.{decimals}f}..{high:,.{decimals}f})"
            cells.append(f"{median:,.{decimals}f}{spread}{ratio}")
        lines.append(f"| {heading} | " + " | ".join(cells) + " |")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--warmup", type=float, default=1.0)
    args = parser.parse_args()
    session.end_on_sigterm()
    raise_file_limit()

    def body(work: Path) -> None:
        settings = Settings(args.seconds, args.warmup, False, Cores.choose(), work)
        for table in TABLES:
            samples: list[list[Metrics]] = [[] for _ in table.cases]
            for number in range(1, args.rounds + 1):
                for case, values in zip(table.cases, samples, strict=True):
                    values.append(measure(case, table.small, settings))
                    print(f"  {table.title}, round {number}, {case.label}", file=sys.stderr, flush=True)
            print(f"\n| {table.title} | " + " | ".join(case.label for case in table.cases) + " |")
            print("|---|" + "---:|" * len(table.cases))
            print("\n".join(rows(table, samples)), flush=True)
        session.print_machine()

    return session.run("compression.py", body)


if __name__ == "__main__":
    sys.exit(main())
