"""Files from the server itself: CPU time per request beside nginx, and whether Python's pauses reach them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness.load import Metrics, Settings, wrk
from harness.servers import STATIC_FOLDER, Options, Running
from scenarios.scenario import Case, Goal, Scenario, cases

METRICS = ("cpu_us", "rps", "p50_us", "p99_us")
SIZES = {"1k.bin": 1024, "1m.bin": 1024 * 1024}
PLAIN = Options("static_app:app", static=True)
STARLETTE = Options("static_app:starlette_app", static=True)
HOLDING = {"BENCH_HOLD_MS": "50"}


def _make_files(work: Path) -> None:
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


def _paused(running: Running, case: Case, settings: Settings) -> Metrics:
    # Few connections: the latency is to be the server's, not that of a queue that the load makes.
    return wrk(running, settings, path="/static/1k.bin", connections=4)


_IO_THREAD = Case("pyre", replace(PLAIN, io_threads=1), "io")

SCENARIOS = (
    Scenario(
        "static_1k",
        "a file of 1 KiB, 64 connections",
        (*cases("pyre nginx", PLAIN), _IO_THREAD),
        _small,
        METRICS,
        (Goal("cpu_us", 1.4, "nginx"), Goal("cpu_us", 1.4, "nginx", "pyre io")),
        prepare=_make_files,
    ),
    Scenario(
        "static_1m",
        "a file of 1 MiB, 16 connections",
        (*cases("pyre nginx", PLAIN), _IO_THREAD),
        _large,
        METRICS,
        (Goal("cpu_us", 1.4, "nginx"), Goal("cpu_us", 1.4, "nginx", "pyre io")),
        prepare=_make_files,
    ),
    Scenario(
        "static_gil",
        "a file of 1 KiB while Python holds the GIL for 50 ms of each second",
        (
            replace(_IO_THREAD, variant="quiet"),
            Case("pyre", replace(_IO_THREAD.options, env=HOLDING), "held"),
            Case("uvicorn", STARLETTE, "quiet"),
            Case("uvicorn", replace(STARLETTE, env=HOLDING), "held"),
            Case("granian", STARLETTE, "quiet"),
            Case("granian", replace(STARLETTE, env=HOLDING), "held"),
        ),
        _paused,
        METRICS,
        (Goal("p99_us", 2.0, "pyre quiet", "pyre held", quiet=True),),
        prepare=_make_files,
    ),
)
