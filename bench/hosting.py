"""The two ways to host the I/O, side by side: inside the app's event loop (--io-threads 0), on a thread of its own (1).

    bench/hosting.py                       5 rounds of 5 s each, and instructions per request
    bench/hosting.py --rounds 3 --seconds 2 --counts 1
    bench/hosting.py --counts 0            without valgrind

Rounds are interleaved. It prints one Markdown table: medians with their spread, and the ratio of the medians with the
spread of the single rounds' ratios (of the single counts'; each pair of counts has a hash seed of its own).
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import callgrind
from harness import session
from harness.load import Settings
from harness.process import Cores, raise_file_limit
from harness.servers import SERVERS, Options, start
from scenarios import SCENARIOS
from scenarios.scenario import METRICS

NAMES = [name for name in SCENARIOS if name.startswith("io_threads_")]
# (what, connections, requests at once)
COUNTED = (("raw ASGI", 64, 1), ("one connection", 1, 1), ("16 requests pipelined", 64, 16))
HEADER = "| load | figure | embedded | I/O thread | ratio |\n|---|---|---:|---:|---:|"


def row(title: str, figure: str, decimals: int, embedded: Sequence[float], thread: Sequence[float]) -> str:
    """Both sequences have a value for each round."""
    cells = [
        f"{statistics.median(values):,.{decimals}f} ({min(values):,.{decimals}f}..{max(values):,.{decimals}f})"
        for values in (embedded, thread)
    ]
    ratios = [b / a for a, b in zip(embedded, thread, strict=True) if a > 0]
    ratio = statistics.median(thread) / statistics.median(embedded)
    cells.append(f"{ratio:.2f} ({min(ratios):.2f}..{max(ratios):.2f})")
    return f"| {title} | {figure} | " + " | ".join(cells) + " |"


def measured(name: str, rounds: int, settings: Settings) -> Iterator[str]:
    """One scenario of compare.py; a row for each of its figures."""
    scenario = SCENARIOS[name]
    samples: list[list[dict[str, float]]] = [[] for _ in scenario.cases]
    for number in range(1, rounds + 1):
        for case, values in zip(scenario.cases, samples, strict=True):
            with start(SERVERS[case.server], case.options, settings.cores, settings.work) as running:
                values.append(scenario.measure(running, case, settings))
            print(f"  {name} round {number} {case.variant or 'embedded'}", file=sys.stderr, flush=True)
    title = scenario.title.rpartition(": ")[2]
    for metric in scenario.metrics:
        embedded, thread = ([sample[metric] for sample in values] for values in samples)
        yield row(title, METRICS[metric].heading, METRICS[metric].decimals, embedded, thread)
        title = ""
    shares = [sample["foreign_share"] for values in samples for sample in values if "foreign_share" in sample]
    if shares:
        spread = f"{statistics.median(shares):.0%} ({min(shares):.0%}..{max(shares):.0%})"
        yield f"| | others used of a core | {spread} | | |"


def counted(title: str, connections: int, pipeline: int, counts: int, work: Path) -> Iterator[str]:
    """Instructions per request of the whole process, and those of our own code."""
    requests = 2000 * min(pipeline, 4)
    load = argparse.Namespace(
        path="/", connections=connections, pipeline=pipeline, requests=requests, warmup=requests // 2
    )
    everything: list[list[float]] = [[], []]
    ours: list[list[float]] = [[], []]
    for seed in range(counts):
        for io_threads in (0, 1):
            options = Options("raw:app", env={"PYTHONHASHSEED": str(seed)})
            place = Path(tempfile.mkdtemp(dir=work))
            costs = callgrind.count(SERVERS["pyre"], replace(options, io_threads=io_threads), load, place)
            everything[io_threads].append(sum(costs.values()) / requests)
            own = sum(cost for spot, cost in costs.items() if callgrind.part_of(spot).startswith(("pyre ", "llhttp")))
            ours[io_threads].append(own / requests)
            print(f"  {title}: counted with --io-threads {io_threads}", file=sys.stderr, flush=True)
    yield row(title, "instructions/request", 0, *everything)
    yield row("", "of these our own", 0, *ours)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each load (5); 0: none")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of one measurement (5)")
    parser.add_argument("--warmup", type=float, default=1.0, help="seconds of load before each measurement (1)")
    parser.add_argument("--counts", type=int, default=3, help="counts of instructions of each load (3); 0: none")
    parser.add_argument("--only", default=",".join(NAMES), help=f"of {', '.join(NAMES)}")
    args = parser.parse_args()
    counts: int = args.counts
    if counts > 0 and shutil.which("valgrind") is None:
        print("valgrind is not installed: no instructions are counted", file=sys.stderr)
        counts = 0
    session.end_on_sigterm()
    raise_file_limit()

    def body(work: Path) -> None:
        settings = Settings(args.seconds, args.warmup, False, Cores.choose(), work)
        print(HEADER)
        for name in filter(None, args.only.split(",") if args.rounds > 0 else ()):
            for line in measured(name, args.rounds, settings):
                print(line, flush=True)
        for load in COUNTED if counts > 0 else ():
            for line in counted(*load, counts, work):
                print(line, flush=True)
        session.print_machine()

    return session.run("hosting.py", body)


if __name__ == "__main__":
    sys.exit(main())
