"""Files from the server itself: CPU time per request beside nginx, and whether Python's pauses reach them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness.load import Metrics, Settings, http_load, wrk
from harness.process import Window
from harness.servers import STATIC_FOLDER, Options, Running
from scenarios.scenario import Case, Goal, Scenario, cases

METRICS = ("cpu_us", "rps", "p50_us", "p99_us")
SIZES = {"1k.bin": 1024, "1m.bin": 1024 * 1024}
PLAIN = Options("static_app:app", static=True)
STARLETTE = Options("static_app:starlette_app", static=True)
HOLDING = {"BENCH_HOLD_MS": "50"}


def make_files(work: Path) -> None:
    folder = work / STATIC_FOLDER
    folder.mkdir(exist_ok=True)
    # nginx' workers may be another user's.
    work.chmod(0o755)
    for name, size in SIZES.items():
        (folder / name).write_bytes(bytes(range(256)) * (size // 256))


def _small(running: Running, case: Case, settings: Settings) -> Metrics:
    return wrk(running, settings, path="/static/1k.bin")


def _large(running: Running, case: Case, settings: Settings) -> Metrics:
    return wrk(running, settings, path="/static/1m.bin", connections=16)


# A tenth of what one core serves: the latency is to be the server's, not that of a queue that the load makes, and a
# client that sends the next request only when it has its answer would not see how many a pause holds up.
PACED_RATE = 2000


def _paused(running: Running, case: Case, settings: Settings) -> Metrics:
    load = ["--path", "/static/1k.bin", "--connections", "16", "--rate", str(PACED_RATE), "--expect-bytes", "1024"]
    http_load(running, settings, *load, "--seconds", str(settings.warmup))
    window = Window(running.child, settings.cores, spread=True)
    report = http_load(running, settings, *load, "--seconds", str(settings.seconds))
    window.close()
    return {
        "requests": report["requests"],
        "rps": report["requests"] / report["seconds"],
        "cpu_us": window.cpu / report["requests"] * 1e6,
        "p50_us": report["fast"]["p50_us"],
        "p99_us": report["fast"]["p99_us"],
        "foreign_share": window.foreign_share,
    }


_IO_THREAD = Case("pyre", replace(PLAIN, io_threads=1), "io")
# The thread that holds the GIL has a core, and the others have one.
_FREE = Case("pyre", replace(PLAIN, io_threads=1, every_core=True), "quiet")
_STARLETTE = replace(STARLETTE, every_core=True)

SCENARIOS = (
    Scenario(
        "static_1k",
        "a file of 1 KiB, 64 connections",
        (*cases("pyre nginx", PLAIN), _IO_THREAD),
        _small,
        METRICS,
        (Goal("cpu_us", 1.4, "nginx"), Goal("cpu_us", 1.4, "nginx", "pyre io")),
        prepare=make_files,
    ),
    Scenario(
        "static_1m",
        "a file of 1 MiB, 16 connections",
        (*cases("pyre nginx", PLAIN), _IO_THREAD),
        _large,
        METRICS,
        (Goal("cpu_us", 1.4, "nginx"), Goal("cpu_us", 1.4, "nginx", "pyre io")),
        prepare=make_files,
    ),
    Scenario(
        "static_gil",
        "a file of 1 KiB, 2,000 requests/s, while Python holds the GIL for 50 ms of each second",
        (
            _FREE,
            Case("pyre", replace(_FREE.options, env=HOLDING), "held"),
            Case("uvicorn", _STARLETTE, "quiet"),
            Case("uvicorn", replace(_STARLETTE, env=HOLDING), "held"),
            Case("granian", _STARLETTE, "quiet"),
            Case("granian", replace(_STARLETTE, env=HOLDING), "held"),
        ),
        _paused,
        METRICS,
        (Goal("p99_us", 2.0, "pyre quiet", "pyre held", quiet=True),),
        prepare=make_files,
    ),
)
