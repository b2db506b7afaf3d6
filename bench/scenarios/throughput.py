"""Requests under a counted wrk run: the judge is the server's CPU time per request."""

from __future__ import annotations

import time

from harness.load import Metrics, Settings, wrk
from harness.process import BenchError
from harness.servers import Options, Running
from scenarios.scenario import Case, Goal, Scenario, cases

WRK_METRICS = ("cpu_us", "rps", "p50_us", "p99_us")


def _plain(running: Running, case: Case, settings: Settings) -> Metrics:
    return wrk(running, settings)


def _pipelined(running: Running, case: Case, settings: Settings) -> Metrics:
    return wrk(running, settings, script="pipeline.lua", arguments=["16"])


def _one_connection(running: Running, case: Case, settings: Settings) -> Metrics:
    return wrk(running, settings, connections=1)


def _post_1k(running: Running, case: Case, settings: Settings) -> Metrics:
    return wrk(running, settings, script="post.lua", arguments=["1024"])


def _post_64k(running: Running, case: Case, settings: Settings) -> Metrics:
    return wrk(running, settings, script="post.lua", arguments=["65536"])


def _fastapi_def(running: Running, case: Case, settings: Settings) -> Metrics:
    return wrk(running, settings, path="/def")


def _fastapi_sleep0(running: Running, case: Case, settings: Settings) -> Metrics:
    return wrk(running, settings, path="/sleep0")


def _access_log(running: Running, case: Case, settings: Settings) -> Metrics:
    metrics = wrk(running, settings)
    # Lines may be written a moment later, off the GIL.
    time.sleep(1.0)
    with running.child.log.open("rb") as log:
        lines = sum(block.count(b"\n") for block in iter(lambda: log.read(1 << 20), b""))
    # A server that logs faster by not logging must not win; dropped lines are allowed only when the disk is full.
    wanted = metrics["requests"] + metrics["warmup_requests"]
    if case.options.access_log and lines < wanted:
        raise BenchError(f"{lines} lines in the log for {wanted:.0f} requests")
    if not case.options.access_log and lines > 1000:
        raise BenchError(f"{lines} lines in the log although the access log is off")
    # 150 bytes a request fill a small disk within a few rounds.
    running.child.log.write_bytes(b"")
    return metrics


RAW = Options("raw:app")


def _hosting(app: str) -> tuple[Case, ...]:
    """The I/O inside the event loop, and on a thread of its own, both on the one core that a server has here."""
    return (
        *cases("pyre", Options(app)),
        *cases("pyre", Options(app, io_threads=1), "io thread"),
    )


SCENARIOS = (
    Scenario(
        "raw",
        "Raw ASGI, 13 bytes, 64 connections",
        cases("pyre uvicorn granian hypercorn nginx bare", RAW),
        _plain,
        WRK_METRICS,
        (
            Goal("cpu_us", 0.36, "uvicorn"),
            Goal("cpu_us", 0.42, "granian"),
            Goal("cpu_us", 1.8, "bare"),
            Goal("p99_us", 0.5, "uvicorn", quiet=True),
        ),
    ),
    Scenario(
        "raw_asyncio",
        "Raw ASGI, 64 connections, --loop asyncio",
        cases("pyre uvicorn", Options("raw:app", loop="asyncio")),
        _plain,
        WRK_METRICS,
    ),
    Scenario(
        "pipelined",
        "Raw ASGI, 64 connections, 16 requests pipelined",
        cases("pyre uvicorn granian nginx bare", RAW),
        _pipelined,
        # wrk 4.1 corrects latencies by an interval that does not know of pipelining: they would mislead here.
        ("cpu_us", "rps"),
        (Goal("cpu_us", 0.18, "uvicorn"),),
    ),
    Scenario(
        "one_connection",
        "Raw ASGI, one connection",
        cases("pyre uvicorn granian nginx bare", RAW),
        _one_connection,
        WRK_METRICS,
        (Goal("p50_us", 0.6, "uvicorn"),),
    ),
    Scenario(
        "post_echo_1k",
        "POST echo of 1 KiB",
        cases("pyre uvicorn granian", Options("post_echo:app")),
        _post_1k,
        WRK_METRICS,
        (Goal("cpu_us", 0.5, "uvicorn"),),
    ),
    Scenario(
        "post_echo_64k",
        "POST echo of 64 KiB",
        cases("pyre uvicorn granian", Options("post_echo:app")),
        _post_64k,
        WRK_METRICS,
        (Goal("cpu_us", 0.5, "uvicorn"),),
    ),
    Scenario(
        "starlette_json",
        "Starlette JSON route",
        cases("pyre uvicorn granian", Options("starlette_json:app")),
        _plain,
        WRK_METRICS,
        (Goal("cpu_us", 0.70, "uvicorn"),),
    ),
    Scenario(
        "fastapi_def",
        "FastAPI `def` handler (thread pool)",
        cases("pyre uvicorn granian", Options("fastapi_app:app")),
        _fastapi_def,
        WRK_METRICS,
        (Goal("cpu_us", 0.8, "uvicorn"),),
    ),
    Scenario(
        "fastapi_sleep0",
        "FastAPI handler with `await sleep(0)`",
        cases("pyre uvicorn granian", Options("fastapi_app:app")),
        _fastapi_sleep0,
        WRK_METRICS,
        (Goal("cpu_us", 0.8, "uvicorn"),),
    ),
    Scenario(
        "access_log",
        "Access log to a file, on and off",
        cases("pyre uvicorn", RAW) + cases("pyre uvicorn", Options("raw:app", access_log=True), "with log"),
        _access_log,
        WRK_METRICS,
        (Goal("cpu_us", 1.10, "pyre", case="pyre with log"),),
    ),
    Scenario("io_threads_raw", "--io-threads 0 and 1: raw ASGI", _hosting("raw:app"), _plain, WRK_METRICS),
    Scenario(
        "io_threads_pipelined",
        "--io-threads 0 and 1: 16 requests pipelined",
        _hosting("raw:app"),
        _pipelined,
        ("cpu_us", "rps"),
    ),
    Scenario(
        "io_threads_one_connection",
        "--io-threads 0 and 1: one connection",
        _hosting("raw:app"),
        _one_connection,
        WRK_METRICS,
    ),
    Scenario(
        "io_threads_fastapi_def",
        "--io-threads 0 and 1: FastAPI `def` handler",
        _hosting("fastapi_app:app"),
        _fastapi_def,
        WRK_METRICS,
    ),
)
