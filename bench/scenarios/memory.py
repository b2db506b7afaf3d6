"""Resident memory: of idle connections, and of answers that nobody reads. MB is 10^6 bytes."""

from __future__ import annotations

import time

from harness.load import ConnectionsClient, Metrics, Settings
from harness.process import BenchError, resident_bytes
from harness.servers import Options, Running
from scenarios.scenario import Case, Goal, Scenario, cases

# Pools and caches that a server fills once are no growth per connection.
WARM_CONNECTIONS = 500
SETTLE_SECONDS = 1.0
UNREAD_BYTES = 15_000_000
# After the last byte was taken a server may go on answering; its memory is watched for this long.
WATCH_SECONDS = 3.0


def warm(running: Running, settings: Settings, count: int = WARM_CONNECTIONS) -> None:
    with ConnectionsClient(running, settings, "sequence", "--count", str(count)) as client:
        if client.report()["answered"] != count:
            raise BenchError("not every warm-up connection was answered")
    time.sleep(SETTLE_SECONDS)


def _idle(running: Running, case: Case, settings: Settings) -> Metrics:
    count = 500 if settings.quick else 5000
    warm(running, settings)
    before = resident_bytes(running.pids())
    with ConnectionsClient(running, settings, "hold", "--count", str(count)) as client:
        answered = client.report()["ready"]
        time.sleep(SETTLE_SECONDS)
        growth = resident_bytes(running.pids()) - before
        client.go_on()
        alive = client.report()["alive"]
    if answered != count or alive != count:
        raise BenchError(f"of {count} connections {answered:.0f} were answered and {alive:.0f} lived to the end")
    return {"connections": count, "bytes_per_connection": growth / count, "rss_mb": before / 1e6}


def _unread(running: Running, case: Case, settings: Settings) -> Metrics:
    warm(running, settings)
    seen = [resident_bytes(running.pids())]

    def sample() -> None:
        seen.append(resident_bytes(running.pids()))

    with ConnectionsClient(running, settings, "unread", "--bytes", str(UNREAD_BYTES)) as client:
        # The client gives up by itself when the server stops reading, so this ends.
        sent = client.report(sample)["sent"]
        until = time.monotonic() + WATCH_SECONDS
        while time.monotonic() < until:
            sample()
            time.sleep(0.02)
        client.go_on()
    if not running.child.alive():
        raise BenchError("the server did not survive the flood")
    return {"sent_mb": sent / 1e6, "growth_mb": (max(seen) - seen[0]) / 1e6, "rss_mb": max(seen) / 1e6}


SCENARIOS = (
    Scenario(
        "memory_idle",
        "5,000 idle keep-alive connections",
        cases("pyre uvicorn granian hypercorn", Options("raw:app", keep_idle=True)),
        _idle,
        ("bytes_per_connection", "rss_mb", "connections"),
        (Goal("bytes_per_connection", 1536), Goal("rss_mb", 45)),
        max_rounds=3,
    ),
    Scenario(
        "memory_pipelined_unread",
        "15 MB of pipelined requests whose answers nobody reads",
        cases("pyre uvicorn granian", Options("raw:app", keep_idle=True)),
        _unread,
        ("growth_mb", "sent_mb", "rss_mb"),
        (Goal("growth_mb", 1.0),),
        max_rounds=3,
    ),
)
