"""Compare servers side by side: the same ASGI app, one server at a time, interleaved rounds, medians with spread.

    bench/compare.py                              every scenario, 5 rounds of 5 s
    bench/compare.py --only raw,pipelined         some of them (post_echo means both of its sizes)
    bench/compare.py --quick                      one short round each, to see that everything works
    bench/compare.py --name v0.1 --update         write results/v0.1.json, keep the scenarios already in it
    bench/compare.py --table --from results/v0.1.json     print a Markdown table of an earlier run

Run it with the interpreter whose environment holds the servers. See bench/README.md for how to read the figures.
Exit status: 0 when no goal failed, 1 when one did, 2 for a wrong command line.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType

sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness import report
from harness.load import Settings
from harness.process import BenchError, Cores, end_all, raise_file_limit
from harness.servers import BENCH, ROOT, SERVERS, start, versions
from scenarios import SCENARIOS, select
from scenarios.scenario import Case, Scenario

RESULTS = BENCH / "results"


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="NAMES", help="comma-separated scenarios: " + ", ".join(SCENARIOS))
    parser.add_argument("--servers", metavar="NAMES", help="comma-separated servers: " + ", ".join(SERVERS))
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each scenario (5)")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of one measurement (5)")
    parser.add_argument("--warmup", type=float, default=1.0, help="seconds of load before each measurement (1)")
    parser.add_argument("--quick", action="store_true", help="one round of 1 s, fewer connections")
    parser.add_argument("--server-core", type=int, help="core for the servers (the first usable one)")
    parser.add_argument("--client-core", type=int, help="core for the load generators (the second usable one)")
    parser.add_argument("--name", help="name of the result file under bench/results (local/<time>)")
    parser.add_argument("--update", action="store_true", help="keep the other scenarios of an existing result file")
    parser.add_argument("--table", action="store_true", help="print a Markdown table at the end")
    parser.add_argument("--from", dest="source", type=Path, help="with --table: print this result file, run nothing")
    parser.add_argument("--list", action="store_true", help="list scenarios with their goals and servers")
    args = parser.parse_args(argv)
    if args.source is not None and not args.table:
        parser.error("--from needs --table")
    if args.rounds < 1 or args.seconds < 1 or args.warmup < 1:
        parser.error("--rounds, --seconds and --warmup are at least 1")
    if args.quick:
        args.rounds, args.seconds, args.warmup = 1, 1.0, 1.0
    try:
        args.scenarios = select(args.only)
    except KeyError as unknown:
        parser.error(f"no scenario is called {unknown}; there are: {', '.join(SCENARIOS)}")
    args.wanted = [name.strip() for name in args.servers.split(",")] if args.servers else list(SERVERS)
    if unknown_servers := set(args.wanted) - set(SERVERS):
        parser.error(f"no server is called {', '.join(sorted(unknown_servers))}; there are: {', '.join(SERVERS)}")
    return args


def list_scenarios() -> None:
    for scenario in SCENARIOS.values():
        print(f"{scenario.name:<26}{scenario.title}  [{', '.join(case.label for case in scenario.cases)}]")
        for goal in scenario.goals:
            limit = f"{goal.limit:g}" + (f"x {goal.peer}" if goal.peer else "")
            print(f"{'':<26}  {goal.case}: {goal.metric} <= {limit}{' in quiet rounds' if goal.quiet else ''}")


def measure(case: Case, scenario: Scenario, settings: Settings, number: int, result: report.CaseResult) -> None:
    sample = report.Sample(round=number, metrics={})
    try:
        with start(SERVERS[case.server], case.options, settings.cores, settings.work) as running:
            # Without the path of this checkout or of this run's temporary files, so that results can be compared.
            words = [Path(word).name if word.startswith("/") else word for word in running.child.command]
            result["command"] = " ".join(words).replace(str(running.port), "PORT")
            sample["metrics"] = scenario.measure(running, case, settings)
    except BenchError as error:
        # Results are committed and compared between machines: no path of this one in them.
        sample["error"] = str(error).replace(str(ROOT) + "/", "").replace(str(settings.work) + "/", "")
    result["samples"].append(sample)
    figures = "  ".join(f"{name}={sample['metrics'].get(name, float('nan')):,.2f}" for name in scenario.metrics)
    figures = sample["error"].splitlines()[0] if "error" in sample else figures
    print(f"    round {number}  {case.label:<18} {figures}", file=sys.stderr, flush=True)


def run_scenario(scenario: Scenario, args: argparse.Namespace, settings: Settings) -> report.ScenarioResult | None:
    cases = [case for case in scenario.cases if case.server in args.wanted]
    missing = {case.server for case in cases if not SERVERS[case.server].available()}
    for name in sorted(missing):
        print(f"  {name} is not installed, left out of {scenario.name}", file=sys.stderr)
    cases = [case for case in cases if case.server not in missing]
    if not cases:
        return None
    results = {
        case.label: report.CaseResult(server=case.server, variant=case.variant, command="", samples=[], summary={})
        for case in cases
    }
    rounds = min(args.rounds, scenario.max_rounds)
    date = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    print(f"  {scenario.name}: {scenario.title}", file=sys.stderr)
    if scenario.prepare is not None:
        scenario.prepare(settings.work)
    for number in range(1, rounds + 1):
        for case in cases:
            measure(case, scenario, settings, number, results[case.label])
    return report.scenario_result(scenario, results, date=date, rounds=rounds, seconds=args.seconds, quick=args.quick)


def run(args: argparse.Namespace, work: Path) -> report.Results:
    raise_file_limit()
    settings = Settings(args.seconds, args.warmup, args.quick, Cores.choose(args.server_core, args.client_core), work)
    results = report.Results(format=1, machine=report.machine(), versions=versions(), scenarios={})
    stamp = dt.datetime.now().strftime("%Y%m%d-%H%M%S")
    path = RESULTS / f"{args.name or 'local/' + stamp}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    if args.update and path.exists():
        earlier: report.Results = json.loads(path.read_text())
        results["scenarios"] = earlier["scenarios"]
    for scenario in args.scenarios:
        result = run_scenario(scenario, args, settings)
        if result is None:
            continue
        results["scenarios"][scenario.name] = result
        print("\n".join(report.scenario_text(result)) + "\n", flush=True)
        # After each scenario, so that Ctrl-C loses only the one that was running; in the table's order.
        order = [name for name in SCENARIOS if name in results["scenarios"]]
        results["scenarios"] = {name: results["scenarios"][name] for name in order}
        path.write_text(json.dumps(results, indent=1) + "\n")
    print(f"results: {path.relative_to(BENCH.parent)}", file=sys.stderr)
    return results


def _terminate(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    if args.list:
        list_scenarios()
        return 0
    if args.source is not None:
        earlier: report.Results = json.loads(args.source.read_text())
        print("\n".join(report.markdown(earlier)))
        return 0
    signal.signal(signal.SIGTERM, _terminate)
    signal.signal(signal.SIGINT, _terminate)  # also when a shell started this in the background, with SIGINT ignored
    work = Path(tempfile.mkdtemp(prefix="pyre-bench-"))
    try:
        results = run(args, work)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BenchError as error:
        print(f"compare.py: {error}", file=sys.stderr)
        return 1
    finally:
        # A second Ctrl-C must not leave a server behind; ending each takes 10 s at worst.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        end_all()
        shutil.rmtree(work, ignore_errors=True)
    if args.table:
        print("\n".join(report.markdown(results)))
    goals = [goal for scenario in args.scenarios for goal in _goals(results, scenario.name)]
    return 1 if any(goal["status"] == "FAIL" for goal in goals) else 0


def _goals(results: report.Results, name: str) -> list[report.GoalResult]:
    return results["scenarios"][name]["goals"] if name in results["scenarios"] else []


if __name__ == "__main__":
    sys.exit(main())
