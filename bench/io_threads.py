"""--io-threads 0, 1 and 2 side by side: on one core, and on every core of the machine together with the load.

    bench/io_threads.py                       5 rounds of 5 s each
    bench/io_threads.py --rounds 3 --seconds 2 --only raw,post

Rounds are interleaved. It prints one Markdown table: medians with their spread, and the ratio to --io-threads 0. Where
the server may use every core it shares them with wrk, as it would with any neighbour on a small machine: requests/s
then say what is left for both, and the CPU time per request what a thread more costs.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness import session
from harness.load import Settings, wrk
from harness.process import Cores, raise_file_limit
from harness.servers import SERVERS, Options, Running, start

THREADS = (0, 1, 2)
METRICS = (("cpu_us", "CPU us/request", 1), ("rps", "requests/s", 0), ("p50_us", "p50 us", 0), ("p99_us", "p99 us", 0))


@dataclass(frozen=True)
class Load:
    title: str
    app: str
    path: str = "/"
    script: str = "report.lua"
    arguments: tuple[str, ...] = ()


LOADS = {
    "raw": Load("raw ASGI", "raw:app"),
    "post": Load("POST of 64 KiB", "post_echo:app", script="post.lua", arguments=("65536",)),
    "fastapi": Load("FastAPI `def` handler", "fastapi_app:app", path="/def"),
}


def use_every_core(running: Running) -> None:
    """The harness pins a server to one core; its threads are there by now."""
    every = os.sched_getaffinity(0)
    for task in os.listdir(f"/proc/{running.child.pid}/task"):
        os.sched_setaffinity(int(task), every)


def measure(load: Load, threads: int, one_core: bool, settings: Settings) -> dict[str, float]:
    options = Options(load.app, io_threads=threads)
    with start(SERVERS["pyre"], options, settings.cores, settings.work) as running:
        if not one_core:
            use_every_core(running)
        return wrk(running, settings, path=load.path, script=load.script, arguments=list(load.arguments))


def rows(title: str, samples: list[list[dict[str, float]]]) -> list[str]:
    lines = []
    for metric, heading, decimals in METRICS:
        medians = [statistics.median(sample[metric] for sample in values) for values in samples]
        cells = []
        for values, median in zip(samples, medians, strict=True):
            low, high = (pick(sample[metric] for sample in values) for pick in (min, max))
            ratio = "" if values is samples[0] else f" {median / medians[0]:.2f}x"
            cells.append(f"{median:,.{decimals}f} ({low:,.{decimals}f}..{high:,.{decimals}f}){ratio}")
        lines.append(f"| {title} | {heading} | " + " | ".join(cells) + " |")
        title = ""
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--warmup", type=float, default=1.0)
    parser.add_argument("--only", default=",".join(LOADS), help="comma-separated: " + ", ".join(LOADS))
    args = parser.parse_args()
    session.end_on_sigterm()
    raise_file_limit()
    print("| load, 64 connections | figure | " + " | ".join(f"--io-threads {n}" for n in THREADS) + " |")
    print("|---|---|" + "---:|" * len(THREADS))

    def body(work: Path) -> None:
        settings = Settings(args.seconds, args.warmup, False, Cores.choose(), work)
        for name in args.only.split(","):
            for one_core in (True, False):
                samples: list[list[dict[str, float]]] = [[] for _ in THREADS]
                for number in range(1, args.rounds + 1):
                    for threads, values in zip(THREADS, samples, strict=True):
                        values.append(measure(LOADS[name], threads, one_core, settings))
                        print(f"  {name} round {number} --io-threads {threads}", file=sys.stderr, flush=True)
                where = "one core" if one_core else "every core, shared with wrk"
                print("\n".join(rows(f"{LOADS[name].title}, {where}", samples)), flush=True)
        session.print_machine()

    return session.run("io_threads.py", body)


if __name__ == "__main__":
    sys.exit(main())
