"""Many connections: 15,000 at once, and 100,000 one after another without a leak."""

from __future__ import annotations

import time

from harness.load import ConnectionsClient, Metrics, Settings
from harness.process import BenchError, open_files, raise_file_limit, resident_bytes
from harness.servers import Options, Running
from scenarios.memory import SETTLE_SECONDS, warm
from scenarios.scenario import Case, Goal, Scenario, cases

AT_ONCE = 15_000
IN_SEQUENCE = 100_000


def _at_once(running: Running, case: Case, settings: Settings) -> Metrics:
    count = 2000 if settings.quick else AT_ONCE
    if raise_file_limit() < count + 200:
        raise BenchError(f"{count} connections need a file limit (ulimit -Hn) of {count + 200}")
    warm(running, settings)
    before = resident_bytes(running.pids())
    with ConnectionsClient(running, settings, "hold", "--count", str(count)) as client:
        first = client.report()
        growth = resident_bytes(running.pids()) - before
        client.go_on()
        alive = client.report()["alive"]
    lost = max(count - first["ready"], count - alive)
    return {"connections": count, "lost": lost, "seconds": first["seconds"], "growth_mb": growth / 1e6}


def _in_sequence(running: Running, case: Case, settings: Settings) -> Metrics:
    count = 5000 if settings.quick else IN_SEQUENCE
    # A fifth of them is warm-up: allocators reach their plateau, a leak does not.
    warm_up = count // 5
    warm(running, settings, warm_up)
    before, files = resident_bytes(running.pids()), open_files(running.pids())
    arguments = ["--count", str(count - warm_up), "--first", str(warm_up)]
    with ConnectionsClient(running, settings, "sequence", *arguments) as client:
        report = client.report()
    time.sleep(SETTLE_SECONDS)
    growth = resident_bytes(running.pids()) - before
    return {
        "connections": count,
        "lost": count - warm_up - report["answered"],
        "fd_growth": open_files(running.pids()) - files,
        "growth_mb": growth / 1e6,
        "seconds": report["seconds"],
    }


SCENARIOS = (
    Scenario(
        "connections_15k",
        "15,000 connections at once",
        cases("pyre uvicorn granian", Options("raw:app", keep_idle=True, many_connections=True)),
        _at_once,
        ("lost", "growth_mb", "seconds", "connections"),
        (Goal("lost", 0),),
        max_rounds=1,
    ),
    Scenario(
        "connections_100k",
        "100,000 connections in sequence",
        cases("pyre uvicorn", Options("raw:app")),
        _in_sequence,
        ("lost", "fd_growth", "growth_mb", "seconds", "connections"),
        # 80,000 connections after the warm-up: a leak of a single 16-byte block each is 1.3 MB.
        (Goal("lost", 0), Goal("fd_growth", 0), Goal("growth_mb", 1.0)),
        max_rounds=1,
    ),
)
