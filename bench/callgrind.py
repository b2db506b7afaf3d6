"""Instructions per request, by part of the server, counted by valgrind --tool=callgrind.

    bench/callgrind.py                                   pyre, raw app, 64 connections, 2,000 requests
    bench/callgrind.py --server uvicorn --top 30
    bench/callgrind.py --pipeline 16 --requests 8000
    bench/callgrind.py --app starlette_json:app --json out.json
    bench/callgrind.py --core build/profile/python/pyre/_core*.so     a module with symbols, see bench/README.md

Counting starts after a warm-up and covers an exact number of requests. It covers user space only: the kernel's share
(most of a raw request) is in the CPU time that compare.py measures. The counts repeat to within a few per mille on any
machine, however busy, so they are what a change is judged by before its CPU time is.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness import servers
from harness.load import Settings, http_load
from harness.process import BenchError, Child, Cores, end_all
from harness.servers import Options, Running, Server

# Valgrind runs a server about fifty times slower; these bounds are for a busy machine.
START_SECONDS = 180.0
LOAD_SECONDS = 300.0
CONTROL_SECONDS = 60.0

PARTS = ("platform", "net", "http", "asgi", "framework")
SOURCE = re.compile(r"(?:^|/)src/(" + "|".join(PARTS) + r")/")
NAMESPACE = re.compile(r"\bpyre::(" + "|".join(PARTS) + r")::")
# By the file name of the shared object, for what is not ours; the first match decides.
OBJECTS = (
    (re.compile(r"uvloop|/loop\.c"), "uvloop"),
    (re.compile(r"httptools"), "httptools"),
    (re.compile(r"granian"), "granian"),
    (re.compile(r"libpython|/python3?[0-9.]*$|lib-dynload"), "CPython"),
    (re.compile(r"libc[.-]|libm[.-]|libpthread|ld-linux|/ld-|vgpreload"), "libc, syscall stubs"),
    (re.compile(r"libstdc\+\+|libgcc"), "libstdc++"),
    (re.compile(r"mimalloc"), "mimalloc"),
    (re.compile(r"pydantic|msgspec"), "extension modules"),
)


@dataclass(frozen=True)
class Place:
    """Where instructions were spent; `file` is that of the inlined code where there is debug information."""

    object: str
    file: str
    function: str


def read_profile(lines: Iterable[str]) -> dict[Place, int]:
    """Self cost of each place in one callgrind.out file (the format is in valgrind's manual, section 16)."""
    names: dict[str, dict[str, str]] = {"ob": {}, "fl": {}, "fn": {}}
    kinds = {"ob": "ob", "cob": "ob", "fn": "fn", "cfn": "fn"} | dict.fromkeys(("fl", "fi", "fe", "cfi", "cfl"), "fl")
    costs: dict[Place, int] = defaultdict(int)
    place = Place("", "", "")
    skip = False
    for line in lines:
        if not line or line[0] in "#\n":
            continue
        if line[0].isdigit() or line[0] in "+-*":
            # The line after calls= holds the callee's inclusive cost, which its own lines count already.
            fields = line.split()
            if not skip and len(fields) > 1:
                costs[place] += int(fields[1])
            skip = False
            continue
        key, mark, value = line.rstrip("\n").partition("=")
        if key == "calls":
            skip = True
        if not mark or key not in kinds:
            continue
        table = names[kinds[key]]
        found = re.match(r"\((\d+)\)(?: (.*))?$", value)
        name = value
        if found:
            if found[2] is not None:
                table[found[1]] = found[2]
            name = table.get(found[1], "???")
        if key == "ob":
            place = replace(place, object=name)
        elif key in ("fl", "fi", "fe"):
            place = replace(place, file=name)
        elif key == "fn":
            # Callgrind numbers the levels of a recursion: f, f'2, f'3. They are one function here.
            place = replace(place, function=re.sub(r"'\d+$", "", name))
    return costs


def part_of(place: Place) -> str:
    """The part of the system that a place belongs to: our folders by source file, else by namespace, else by object."""
    ours = "_core" in Path(place.object).name
    # llhttp and mimalloc are linked into our module, so their names decide, and before the folder that inlines them.
    if place.function.startswith(("llhttp", "__llhttp", "llhttp__")) or "llhttp" in Path(place.file).name:
        return "llhttp" if ours else "httptools"
    if place.function.startswith(("mi_", "_mi_")):
        return "mimalloc"
    if ours:
        found = SOURCE.search(place.file) or NAMESPACE.search(place.function)
        return f"pyre {found[1]}" if found else "pyre other"
    for pattern, part in OBJECTS:
        if pattern.search(place.object):
            return part
    return Path(place.object).name or "unknown"


def report(costs: dict[Place, int], requests: int, top: int) -> Iterator[str]:
    parts: dict[str, int] = defaultdict(int)
    functions: dict[tuple[str, str], int] = defaultdict(int)
    for place, cost in costs.items():
        part = part_of(place)
        parts[part] += cost
        functions[part, place.function] += cost
    total = sum(parts.values()) or 1
    yield f"{'instructions/request':>20}  {'share':>6}  part"
    for part, cost in sorted(parts.items(), key=lambda item: -item[1]):
        yield f"{cost / requests:>20,.0f}  {cost / total:>6.1%}  {part}"
    yield f"{total / requests:>20,.0f}  {1:>6.0%}  all of user space"
    yield ""
    yield f"{'instructions/request':>20}  {'share':>6}  function"
    for (part, function), cost in sorted(functions.items(), key=lambda item: -item[1])[:top]:
        yield f"{cost / requests:>20,.1f}  {cost / total:>6.1%}  [{part}] {function[:100]}"


def _control(child: Child, *arguments: str) -> None:
    command = ["callgrind_control", *arguments, str(child.pid)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=CONTROL_SECONDS)
    if done.returncode != 0 or "Error" in done.stdout + done.stderr:
        raise BenchError(f"{' '.join(command)}: {(done.stdout + done.stderr).strip()}")


def count(server: Server, options: Options, args: argparse.Namespace, work: Path) -> dict[Place, int]:
    """Run the server under valgrind and return the cost of exactly args.requests requests."""
    out = work / "callgrind.out"

    def under_valgrind(port: int, options: Options, work: Path) -> list[str]:
        command = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}"]
        return [*command, *server.command(port, options, work)]

    settings = Settings(1, 1, True, Cores.choose(), work)
    load = ["--path", args.path, "--connections", str(args.connections), "--pipeline", str(args.pipeline)]
    wrapped = replace(server, command=under_valgrind)
    with servers.start(wrapped, options, settings.cores, work, patience=START_SECONDS) as running:
        http_load(running, settings, *load, "--requests", str(args.warmup), deadline=LOAD_SECONDS)
        _control(running.child, "--instr=on")
        http_load(running, settings, *load, "--requests", str(args.requests), deadline=LOAD_SECONDS)
        _control(running.child, "--instr=off")
        _control(running.child, "--dump")
        return _read_dumps(running, out)


def package_with(core: Path, work: Path) -> Path:
    """A copy of the Python package around another build of its module; the directory for PYTHONPATH."""
    target = work / "python"
    ignored = shutil.ignore_patterns("_core*.so", "__pycache__")
    shutil.copytree(servers.ROOT / "python" / "pyre", target / "pyre", ignore=ignored)
    shutil.copy2(core, target / "pyre" / core.name)
    return target


def _read_dumps(running: Running, out: Path) -> dict[Place, int]:
    costs: dict[Place, int] = defaultdict(int)
    for dump in sorted(out.parent.glob(out.name + ".*")):
        with dump.open(errors="replace") as lines:
            for place, cost in read_profile(lines).items():
                costs[place] += cost
    if not costs:
        raise BenchError(f"callgrind wrote no profile\n{running.child.log_tail()}")
    return costs


def _terminate(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    # Only servers of one process: callgrind counts what the process does that it was started on.
    parser.add_argument("--server", choices=["pyre", "uvicorn", "nginx", "bare"], default="pyre")
    parser.add_argument("--app", default="raw:app", help="module of bench/apps and app object (raw:app)")
    parser.add_argument("--loop", choices=["uvloop", "asyncio"], default="uvloop")
    parser.add_argument("--core", type=Path, help="run pyre with this build of its module")
    parser.add_argument("--path", default="/")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--pipeline", type=int, default=1)
    parser.add_argument("--requests", type=int, default=2000, help="requests that are counted (2000)")
    parser.add_argument("--warmup", type=int, default=1000, help="requests before them (1000)")
    parser.add_argument("--top", type=int, default=25, help="functions to list (25)")
    parser.add_argument("--json", type=Path, help="write the parts' instructions per request to this file")
    args = parser.parse_args()
    if shutil.which("valgrind") is None:
        print("callgrind.py: valgrind is not installed", file=sys.stderr)
        return 1
    server = servers.SERVERS[args.server]
    if not server.available() and args.core is None:
        print(f"callgrind.py: {args.server} is not installed", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, _terminate)
    signal.signal(signal.SIGINT, _terminate)
    work = Path(tempfile.mkdtemp(prefix="pyre-callgrind-"))
    try:
        env = {}
        if args.core is not None:
            env["PYTHONPATH"] = os.pathsep.join([str(package_with(args.core, work)), str(servers.APPS)])
        costs = count(server, Options(args.app, loop=args.loop, env=env), args, work)
    except BenchError as error:
        print(f"callgrind.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        end_all()
        shutil.rmtree(work, ignore_errors=True)
    print(
        f"{args.server}, {args.app}, {args.connections} connections, {args.pipeline} at once, {args.requests} requests"
    )
    print("\n".join(report(costs, args.requests, args.top)))
    if args.json is not None:
        parts: dict[str, float] = defaultdict(float)
        for place, cost in costs.items():
            parts[part_of(place)] += cost / args.requests
        args.json.write_text(json.dumps(parts, indent=1, sort_keys=True) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
