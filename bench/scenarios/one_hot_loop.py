"""Two I/O threads, all the load on the connections of one of them: with overflow parsing and without.

Clients are spread in turn, so of connections that are opened one after the other each second one is on the same loop.
The server may use every core, which it shares with the load: on two cores there is hardly anybody to do the other's
work, so see one_hot_loop_sim.cpp for machines with more.
"""

from __future__ import annotations

from dataclasses import replace

from harness.load import Metrics, Settings, http_load
from harness.process import Window
from harness.servers import Options, Running
from scenarios.scenario import Case, Goal, Scenario
from scenarios.static import make_files

METRICS = ("p50_us", "p99_us", "rps", "cpu_us")
OPTIONS = Options("static_app:app", static=True, io_threads=2, every_core=True)
# A small file for a head that is large, as one with many cookies: parsing is then as much of the work as it ever gets.
HEAD_BYTES = 8000
CONNECTIONS = 64
CASES = (Case("pyre", OPTIONS, "inline"), Case("pyre", replace(OPTIONS, overflow=True), "overflow"))


def _load(running: Running, settings: Settings, connections: int, every: int) -> Metrics:
    arguments = ["--path", "/static/1k.bin", "--head-bytes", str(HEAD_BYTES), "--expect-bytes", "1024"]
    arguments += ["--connections", str(connections), "--every", str(every)]
    http_load(running, settings, *arguments, "--seconds", str(settings.warmup))
    window = Window(running.child, settings.cores)
    report = http_load(running, settings, *arguments, "--seconds", str(settings.seconds))
    window.close()
    return {
        "p50_us": report["fast"]["p50_us"],
        "p99_us": report["fast"]["p99_us"],
        "rps": report["requests"] / report["seconds"],
        "cpu_us": window.cpu / report["requests"] * 1e6,
    }


def _hot(running: Running, case: Case, settings: Settings) -> Metrics:
    return _load(running, settings, 2 * CONNECTIONS, 2)


def _balanced(running: Running, case: Case, settings: Settings) -> Metrics:
    return _load(running, settings, CONNECTIONS, 1)


SCENARIOS = (
    Scenario(
        "one_hot_loop",
        f"heads of {HEAD_BYTES} bytes, all on one of two loops, {CONNECTIONS} connections",
        CASES,
        _hot,
        METRICS,
        (Goal("p99_us", 0.5, "pyre inline", "pyre overflow"),),
        prepare=make_files,
    ),
    Scenario(
        "balanced_loops",
        "the same on both loops",
        CASES,
        _balanced,
        METRICS,
        (Goal("cpu_us", 1.02, "pyre inline", "pyre overflow"), Goal("p99_us", 1.02, "pyre inline", "pyre overflow")),
        prepare=make_files,
    ),
)
