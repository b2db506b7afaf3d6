"""Large answers: an exact number of them, whose length the client checks; CPU time per answer."""

from __future__ import annotations

from pathlib import Path

from harness.load import Metrics, Settings, http_load
from harness.process import BenchError, Window
from harness.servers import BENCH_FILE, Options, Running
from scenarios.scenario import Case, Goal, Scenario, cases

STREAM_BYTES = 800 * 65536
FILE_BYTES = 100_000_000
METRICS = ("cpu_ms", "mb_s")


def _transfer(running: Running, settings: Settings, path: str, size: int) -> Metrics:
    # Two connections: the server is never idle, and the order of magnitude of one run is `seconds` for uvicorn.
    arguments = ["--path", path, "--connections", "2", "--expect-bytes", str(size), "--requests"]
    http_load(running, settings, *arguments, "2")
    window = Window(running.child, settings.cores)
    report = http_load(running, settings, *arguments, str(max(4, round(settings.seconds * 6))))
    window.close()
    count = report["requests"]
    if report["bytes"] != count * size:
        raise BenchError(f"{report['bytes']} bytes came in {count} answers of {size}")
    return {
        "requests": count,
        "cpu_ms": window.cpu / count * 1e3,
        "mb_s": report["bytes"] / report["seconds"] / 1e6,
        "foreign_share": window.foreign_share,
    }


def _stream(running: Running, case: Case, settings: Settings) -> Metrics:
    return _transfer(running, settings, "/stream", STREAM_BYTES)


def _make_file(work: Path) -> None:
    path = work / BENCH_FILE
    if not path.exists():
        block = bytes(range(256)) * 3906  # not all zeros: a sparse file would not have to be read
        with path.open("wb") as file:
            left = FILE_BYTES
            while left > 0:
                left -= file.write(block[:left])


def _file(running: Running, case: Case, settings: Settings) -> Metrics:
    return _transfer(running, settings, "/file", FILE_BYTES)


SCENARIOS = (
    Scenario(
        "stream",
        "50 MB streamed in 64 KiB chunks",
        cases("pyre uvicorn granian bare_stream", Options("stream:app")),
        _stream,
        METRICS,
        (Goal("cpu_ms", 0.6, "uvicorn"),),
    ),
    Scenario(
        "pathsend_raw",
        "100 MB file, raw app (pathsend; uvicorn: read and send)",
        cases("pyre uvicorn granian", Options("pathsend:app")),
        _file,
        METRICS,
        (Goal("cpu_ms", 0.3, "uvicorn"),),
        prepare=_make_file,
    ),
    Scenario(
        "pathsend_starlette",
        "100 MB file, Starlette FileResponse",
        cases("pyre uvicorn granian", Options("pathsend:starlette_app")),
        _file,
        METRICS,
        (Goal("cpu_ms", 0.3, "uvicorn"),),
        prepare=_make_file,
    ),
)
