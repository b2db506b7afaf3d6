"""From samples to medians, spreads, ratios and verdicts; as text, as JSON and as a Markdown table."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NotRequired, TypedDict

from harness.servers import ROOT
from scenarios.scenario import METRICS, QUIET_SHARE, Goal, Scenario


class Sample(TypedDict):
    round: int
    metrics: dict[str, float]
    error: NotRequired[str]


class CaseResult(TypedDict):
    server: str
    variant: str
    command: str
    samples: list[Sample]
    summary: dict[str, dict[str, float]]


class GoalResult(TypedDict):
    metric: str
    case: str
    peer: str | None
    limit: float
    quiet: bool
    status: str  # PASS, FAIL or n/a
    value: float | None
    low: float | None
    high: float | None
    rounds: int
    why: str


class ScenarioResult(TypedDict):
    title: str
    metrics: list[str]
    commit: str
    date: str
    rounds: int
    seconds: float
    quick: bool
    cases: dict[str, CaseResult]
    goals: list[GoalResult]


class Results(TypedDict):
    format: int
    machine: dict[str, str]
    versions: dict[str, str]
    scenarios: dict[str, ScenarioResult]


def summarize(samples: Iterable[Sample]) -> dict[str, dict[str, float]]:
    good = [sample["metrics"] for sample in samples if "error" not in sample]
    summary: dict[str, dict[str, float]] = {}
    for name in good[0] if good else ():
        values = [metrics[name] for metrics in good]
        summary[name] = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return summary


def _by_round(case: CaseResult, metric: str, quiet: bool) -> dict[int, float]:
    return {
        sample["round"]: sample["metrics"][metric]
        for sample in case["samples"]
        if "error" not in sample and (not quiet or sample["metrics"].get("foreign_share", 0.0) <= QUIET_SHARE)
    }


def judge(goal: Goal, cases: dict[str, CaseResult]) -> GoalResult:
    """Compare medians; the spread is that of the single rounds (of the paired rounds, where there is a peer)."""
    result = GoalResult(
        metric=goal.metric,
        case=goal.case,
        peer=goal.peer,
        limit=goal.limit,
        quiet=goal.quiet,
        status="n/a",
        value=None,
        low=None,
        high=None,
        rounds=0,
        why="",
    )
    for label in (goal.case, goal.peer):
        if label is not None and label not in cases:
            result["why"] = f"{label} did not take part"
            return result
    errors = [sample["error"] for sample in cases[goal.case]["samples"] if "error" in sample]
    if errors:
        result["status"], result["why"] = "FAIL", f"{goal.case}: {errors[0].splitlines()[0]}"
        return result
    mine = _by_round(cases[goal.case], goal.metric, goal.quiet)
    if goal.peer is None:
        values = list(mine.values())
        middle = statistics.median(values) if values else None
    else:
        peers = _by_round(cases[goal.peer], goal.metric, goal.quiet)
        rounds = sorted(mine.keys() & peers.keys())
        values = [mine[number] / peers[number] for number in rounds if peers[number] > 0]
        middle = None
        if values:
            middle = statistics.median(mine[r] for r in rounds) / statistics.median(peers[r] for r in rounds)
    if middle is None:
        result["why"] = "no round was quiet for both" if goal.quiet else f"{goal.peer or goal.case} has no valid round"
        return result
    result["value"], result["rounds"] = middle, len(values)
    result["low"], result["high"] = min(values), max(values)
    result["status"] = "PASS" if middle <= goal.limit else "FAIL"
    return result


def _number(metric: str, value: float) -> str:
    return f"{value:,.{METRICS[metric].decimals}f}"


def _goal_text(goal: GoalResult) -> str:
    if goal["peer"] is None:
        return f"{METRICS[goal['metric']].heading} <= {goal['limit']:,g}"
    return f"{METRICS[goal['metric']].heading} <= {goal['limit']:g}x {goal['peer']}"


def _value_text(goal: GoalResult) -> str:
    if goal["value"] is None or goal["low"] is None or goal["high"] is None:
        return "-"
    if goal["peer"] is None:
        texts = [_number(goal["metric"], value) for value in (goal["value"], goal["low"], goal["high"])]
    else:
        texts = [f"{value:.3f}" for value in (goal["value"], goal["low"], goal["high"])]
    return f"{texts[0]}{'' if goal['peer'] is None else 'x'} ({texts[1]}..{texts[2]})"


def scenario_text(result: ScenarioResult) -> Iterator[str]:
    """One scenario for the terminal: a table of medians with their spread, then the goals."""
    yield f"{result['title']}   [{result['rounds']} round(s){', quick' if result['quick'] else ''}]"
    width = max([len(label) for label in result["cases"]] + [8])
    yield " " * (width + 2) + "".join(f"{METRICS[name].heading + ' (min..max)':>34}" for name in result["metrics"])
    for label, case in result["cases"].items():
        cells = []
        for name in result["metrics"]:
            if (stats := case["summary"].get(name)) is None:
                cells.append("-")
            else:
                texts = [_number(name, stats[key]) for key in ("median", "min", "max")]
                cells.append(f"{texts[0]} ({texts[1]}..{texts[2]})")
        yield f"  {label:<{width}}" + "".join(f"{cell:>34}" for cell in cells)
        for sample in case["samples"]:
            if "error" in sample:
                yield f"    round {sample['round']}: " + sample["error"].replace("\n", "\n      ")
    if (share := disturbance(result)) > QUIET_SHARE:
        yield f"  note: in the median round others used {share:.0%} of a core; the figures are less certain"
    for goal in result["goals"]:
        why = f"  {goal['why']}" if goal["why"] else f"  {goal['rounds']} round(s)" + _quiet_note(goal)
        yield f"  {goal['status']:<4}  {goal['case']}: {_goal_text(goal)}: {_value_text(goal)}{why}"


def disturbance(result: ScenarioResult) -> float:
    """The median, over all measurements, of what others used of the busier of the two cores."""
    samples = [sample["metrics"] for case in result["cases"].values() for sample in case["samples"]]
    shares = [metrics["foreign_share"] for metrics in samples if "foreign_share" in metrics]
    return statistics.median(shares) if shares else 0.0


def _quiet_note(goal: GoalResult) -> str:
    return ", only those quiet for both" if goal["quiet"] else ""


def markdown(results: Results) -> Iterator[str]:
    """The whole result as one Markdown table: a row per scenario, variant and figure; a column per server."""
    order = ["pyre", "uvicorn", "granian", "hypercorn", "nginx", "bare"]
    present = {case["server"] for scenario in results["scenarios"].values() for case in scenario["cases"].values()}
    servers = [name for name in order if name in present]
    yield "| scenario | figure | " + " | ".join(servers) + " | goal | result |"
    yield "|---|---|" + "---:|" * len(servers) + "---|---|"
    for scenario in results["scenarios"].values():
        title = scenario["title"].replace("|", "\\|")
        variants = list(dict.fromkeys(case["variant"] for case in scenario["cases"].values()))
        for variant in variants:
            row = {case["server"]: case for case in scenario["cases"].values() if case["variant"] == variant}
            for metric in scenario["metrics"]:
                cells = []
                for server in servers:
                    stats = row[server]["summary"].get(metric) if server in row else None
                    cells.append(_number(metric, stats["median"]) if stats else "")
                if not any(cells):
                    continue
                mine = f"pyre {variant}" if variant else "pyre"
                goals = [g for g in scenario["goals"] if g["metric"] == metric and g["case"] == mine]
                wanted = "<br>".join(_goal_text(goal).removeprefix(METRICS[metric].heading + " ") for goal in goals)
                reached = "<br>".join(_verdict(goal) for goal in goals)
                head = title + (f", {variant}" if variant else "")
                cells = [head, METRICS[metric].heading, *cells, wanted, reached]
                yield "| " + " | ".join(cells) + " |"
                title = ""
    machine = results["machine"]
    yield ""
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    commits = sorted({scenario["commit"] for scenario in results["scenarios"].values()})
    dates = sorted({scenario["date"][:10] for scenario in results["scenarios"].values()})
    note = " Some scenarios come from a quick run." if any(s["quick"] for s in results["scenarios"].values()) else ""
    disturbed = [name for name, s in results["scenarios"].items() if disturbance(s) > QUIET_SHARE]
    if disturbed:
        note += f" Others used more than {QUIET_SHARE:.0%} of a core in most rounds of: {', '.join(disturbed)}."
    yield (
        f"Medians. {machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}; server and load generator "
        f"pinned to one core each; {versions}; commit {', '.join(commits)}; "
        f"{' to '.join(sorted({dates[0], dates[-1]}))}.{note}"
    )


def _verdict(goal: GoalResult) -> str:
    if goal["value"] is None:
        return goal["status"]
    value = _number(goal["metric"], goal["value"]) if goal["peer"] is None else f"{goal['value']:.2f}x"
    return f"{value} {goal['status']}"


def scenario_result(
    scenario: Scenario, cases: dict[str, CaseResult], *, date: str, rounds: int, seconds: float, quick: bool
) -> ScenarioResult:
    for case in cases.values():
        case["summary"] = summarize(case["samples"])
    return ScenarioResult(
        title=scenario.title,
        metrics=list(scenario.metrics),
        commit=commit(),
        date=date,
        rounds=rounds,
        seconds=seconds,
        quick=quick,
        cases=cases,
        goals=[judge(goal, cases) for goal in scenario.goals],
    )


def commit() -> str:
    """The short commit, with a + when the tree differs from it."""
    try:
        name = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()
        dirty = subprocess.run(
            ["git", "status", "--porcelain", "-uno"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return name + ("+" if dirty else "")


def machine() -> dict[str, str]:
    cpu = platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    memory = Path("/proc/meminfo").read_text().splitlines()[0].split()[1]
    return {
        "cpu": cpu,
        "cores": str(os.cpu_count()),
        "memory_mb": str(int(memory) // 1024),
        "kernel": platform.release(),
        "load": " ".join(f"{value:.2f}" for value in os.getloadavg()),
    }
