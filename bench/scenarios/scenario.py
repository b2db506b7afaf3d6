"""What a scenario is: some cases (a server with options), one way to measure a case, and goals for the figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.load import Metrics, Settings
from harness.servers import Options, Running

# The share of a core that others may use during a round which still counts as quiet.
QUIET_SHARE = 0.05


@dataclass(frozen=True)
class Metric:
    heading: str
    decimals: int


METRICS: dict[str, Metric] = {
    "cpu_us": Metric("CPU us/request", 2),
    "cpu_ms": Metric("CPU ms/response", 2),
    "rps": Metric("requests/s", 0),
    "mb_s": Metric("MB/s", 0),
    "p50_us": Metric("p50 us", 0),
    "p99_us": Metric("p99 us", 0),
    "fast_p50_us": Metric("fast p50 us", 0),
    "fast_p99_us": Metric("fast p99 us", 0),
    "ticker_p50_us": Metric("ticker lag p50 us", 0),
    "ticker_p99_us": Metric("ticker lag p99 us", 0),
    "connections": Metric("connections", 0),
    "bytes_per_connection": Metric("bytes/connection", 0),
    "rss_mb": Metric("resident MB", 1),
    "growth_mb": Metric("growth MB", 2),
    "sent_mb": Metric("MB taken", 1),
    "fd_growth": Metric("fds left", 0),
    "lost": Metric("lost", 0),
    "seconds": Metric("seconds", 1),
    "foreign_share": Metric("others' CPU", 2),
}


@dataclass(frozen=True)
class Case:
    """One server with one set of options; `variant` tells two cases of the same server apart."""

    server: str
    options: Options = field(default_factory=Options)
    variant: str = ""

    @property
    def label(self) -> str:
        return f"{self.server} {self.variant}" if self.variant else self.server


@dataclass(frozen=True)
class Goal:
    """`metric` of `case` is at most `limit`, or at most `limit` times the peer's where a peer is named."""

    metric: str
    limit: float
    peer: str | None = None
    case: str = "pyre"
    # Only rounds in which neither of the two was disturbed by other processes count.
    quiet: bool = False


@dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    cases: tuple[Case, ...]
    measure: Callable[[Running, Case, Settings], Metrics]
    metrics: tuple[str, ...]
    goals: tuple[Goal, ...] = ()
    # Counting scenarios say the same every time; more rounds than this would only cost time.
    max_rounds: int = 1000
    # Called once before the first round, with the directory of this run's temporary files.
    prepare: Callable[[Path], None] | None = None


def cases(servers: str, options: Options, variant: str = "") -> tuple[Case, ...]:
    """One case for each of the blank-separated servers, all with the same options."""
    return tuple(Case(name, replace(options), variant) for name in servers.split())
