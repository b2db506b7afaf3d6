"""All scenarios by name, in the order in which they run and are printed."""

from __future__ import annotations

from scenarios import connections, latency, memory, one_hot_loop, static, throughput, transfer
from scenarios.scenario import Scenario

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for module in (throughput, transfer, static, one_hot_loop, latency, memory, connections)
    for scenario in module.SCENARIOS
}


def select(only: str | None) -> list[Scenario]:
    """The scenarios that a comma-separated list names; `post_echo` also means post_echo_1k and post_echo_64k."""
    if not only:
        return list(SCENARIOS.values())
    chosen: dict[str, Scenario] = {}
    for word in (part.strip() for part in only.split(",")):
        if not word:
            continue
        found = [s for name, s in SCENARIOS.items() if name == word] or [
            s for name, s in SCENARIOS.items() if name.startswith(word + "_")
        ]
        if not found:
            raise KeyError(word)
        chosen.update({scenario.name: scenario for scenario in found})
    return list(chosen.values())
