"""Who waits for whom: fast requests beside slow handlers and a ticker, and all of them beside a busy thread."""

from __future__ import annotations

import json
import time

from harness.load import Metrics, Settings, http_load, wrk
from harness.process import BenchError, Window
from harness.servers import Options, Running, get
from scenarios.scenario import Case, Goal, Scenario, cases

# 3,000 requests/s of which 60 burn 5 ms: 30 % of the core for the burns, 5 to 10 % for everything else. A server
# under this load has time to be fair; the saturated variant shows what it does when it has none.
PACED_RATE = 3000
MIXED = ["--path", "/fast", "--slow-path", "/slow", "--slow-every", "50", "--connections", "64"]


def _ticker(running: Running) -> dict[str, float]:
    body = get(running.port, "/ticker")
    if body is None:
        raise BenchError("the app did not answer /ticker")
    report: dict[str, float] = json.loads(body)
    return report


def _mixed(running: Running, settings: Settings, *load: str) -> Metrics:
    http_load(running, settings, *MIXED, "--seconds", str(settings.warmup), *load)
    time.sleep(0.1)
    _ticker(running)  # forgets the lags of start-up and warm-up
    window = Window(running.child, settings.cores)
    report = http_load(running, settings, *MIXED, "--seconds", str(settings.seconds), *load)
    window.close()
    ticker = _ticker(running)
    if ticker["count"] < 10:
        raise BenchError(f"the ticker ticked {ticker['count']:.0f} times only")
    return {
        "requests": report["requests"],
        "rps": report["requests"] / report["seconds"],
        "cpu_us": window.cpu / report["requests"] * 1e6,
        "fast_p50_us": report["fast"]["p50_us"],
        "fast_p99_us": report["fast"]["p99_us"],
        "ticker_p50_us": ticker["p50_us"],
        "ticker_p99_us": ticker["p99_us"],
        "foreign_share": window.foreign_share,
    }


def _paced(running: Running, case: Case, settings: Settings) -> Metrics:
    return _mixed(running, settings, "--rate", str(PACED_RATE))


def _saturated(running: Running, case: Case, settings: Settings) -> Metrics:
    return _mixed(running, settings)


def _busy_thread(running: Running, case: Case, settings: Settings) -> Metrics:
    return wrk(running, settings)


MIXED_METRICS = ("fast_p50_us", "fast_p99_us", "ticker_p50_us", "ticker_p99_us", "rps")
NOT_WORSE = (Goal("fast_p99_us", 1.0, "uvicorn"), Goal("ticker_p99_us", 1.0, "uvicorn"))

SCENARIOS = (
    Scenario(
        "mixed_paced",
        "1 in 50 handlers burns 5 ms, 1 ms ticker, 3,000 requests/s",
        cases("pyre uvicorn granian", Options("mixed:app")),
        _paced,
        MIXED_METRICS,
        NOT_WORSE,
    ),
    Scenario(
        "mixed_saturated",
        "1 in 50 handlers burns 5 ms, 1 ms ticker, 64 connections as fast as they can",
        cases("pyre uvicorn granian", Options("mixed:app")),
        _saturated,
        MIXED_METRICS,
        NOT_WORSE,
    ),
    Scenario(
        "busy_thread",
        "Raw ASGI beside one CPU-bound Python thread",
        cases("pyre uvicorn granian", Options("busy_thread:app")),
        _busy_thread,
        # No CPU per request here: the busy thread uses whatever the server leaves.
        ("rps", "p50_us", "p99_us"),
        (Goal("p50_us", 1.0, "uvicorn"),),
    ),
)
