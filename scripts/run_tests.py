"""Runs the test jobs: builds what each needs, runs its steps, counts. ./scripts/test sets the machine up and calls it.

Two steps run at a time, since half of them wait for sockets; builds run one at a time, each on every core, beside the
steps of what is built already. Each step writes a log into build/test. Its tests are counted from the JUnit file that
ctest and pytest write; a step without one (a linter, a fuzzer) counts as one test, and so does each sanitizer report.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from free_threaded_steps import free_threaded_steps, free_threaded_tsan_steps
from sanitizer_reports import sanitizer_reports
from test_results import Count, count_junit, failed_names
from test_steps import (
    BUILD,
    PYTHON,
    RESULTS,
    ROOT,
    Job,
    Step,
    build,
    ctest_step,
    fresh_reports,
    pytest_step,
    too_random,
)

SLOTS = int(os.environ.get("PYRE_TEST_SLOTS", "2"))
STEP_LIMIT_S = 45 * 60  # only against hanging; the longest step takes a few minutes
MOST_AGAIN = 5  # more failures than this are no accident
MOST_NAMES = 20  # of failed tests, on the terminal
FUZZ_S = int(os.environ.get("PYRE_FUZZ_S", "30"))
TAIL_LINES = 60  # of a failed step's log, on the terminal


def tail(path: Path, lines: int) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


def windows_steps(extra: list[str]) -> list[Step]:
    """The C++ tests; all Python tests on one Python, in four parts; the ASGI tests with the usual event loop on the
    newest one."""
    cpp = ctest_step("windows-ctest", "mingw-wine")
    cpp.command = ["scripts/under-wine", *cpp.command]
    cpp.again = [*cpp.command[:-1], str(RESULTS / f"{cpp.name}-again.xml"), "--rerun-failed"]
    proactor = "not winloop and not selector"
    others = "winloop or selector"
    light = ["-m", "not heavy"]
    return [
        windows_step("windows-py311", "3.11", ["tests/asgi", "-k", proactor, *extra]),
        # The codings are the same library on both.
        windows_step("windows-py314", "3.14", ["tests/asgi", "-k", f"{proactor} and not compress", *light, *extra]),
        windows_step("windows-cli", "3.11", ["tests/cli", "tests/python", *extra]),
        windows_step("windows-frameworks", "3.11", ["tests/frameworks", *extra]),
        windows_step("windows-loops", "3.11", ["tests/asgi", "-k", others, *extra]),
        cpp,
    ]


def windows_step(name: str, version: str, arguments: list[str]) -> Step:
    # Relative to the source tree, which has another name in there.
    results = (RESULTS / name).relative_to(ROOT)
    shutil.rmtree(ROOT / f"{results}-cache", ignore_errors=True)
    command = ["scripts/windows-python", version, "-m", "pytest", "-o", f"cache_dir={results}-cache", *arguments]
    step = Step(name, [*command, f"--junitxml={results}.xml"], junit=True)
    # All processes of a Wine prefix wait for its one server, which has one thread. With other jobs beside, a time-out
    # that guards against hanging can end a test that only waits for its turn, so a few failures get a second chance,
    # and the run says so. A real one fails twice.
    step.again = [*command, "--last-failed", f"--junitxml={results}-again.xml"]
    return step


def lint_steps(extra: list[str]) -> list[Step]:
    cpp = subprocess.run(
        [
            "git",
            "-c",
            "safe.directory=*",
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
            "*.h",
            "*.cpp",
            "*.cc",
            "*.c",
        ],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    package = {"MYPYPATH": str(ROOT / "python"), "PYTHONPATH": str(ROOT / "python")}
    tidy = [PYTHON, "-m", "pytest", "tests/tidy_test.py", "-p", "no:cacheprovider"]
    return [
        Step("clang-format", ["clang-format-16", "--dry-run", "--Werror", *[f for f in cpp if (ROOT / f).exists()]]),
        Step("ruff-check", [PYTHON, "-m", "ruff", "check", "."]),
        Step("ruff-format", [PYTHON, "-m", "ruff", "format", "--check", "--diff", "."]),
        Step("mypy", [PYTHON, "-m", "mypy"], package),
        Step("mypy-scripts", [PYTHON, "-m", "mypy", "scripts", "tests/tidy_test.py", "tests/conftest.py"], package),
        Step("stubtest", [PYTHON, "-m", "mypy.stubtest", "pyre._core"], package),
        Step("tidy", [*tidy, f"--junitxml={RESULTS / 'tidy.xml'}", *extra], junit=True),
    ]


def sanitized_python(runtimes: list[str]) -> dict[str, str]:
    """What an interpreter needs to load an instrumented module: the sanitizer's runtime comes first, and with ASan also
    libstdc++, or its interceptors do not find __cxa_throw."""
    paths = [subprocess.check_output(["gcc", f"-print-file-name={name}"], text=True).strip() for name in runtimes]
    return {"LD_PRELOAD": " ".join(paths), "PYTHONMALLOC": "malloc"}


def sanitizer_steps(
    preset: str, runtimes: list[str], variable: str, options: str, loops: str, extra: list[str]
) -> list[Step]:
    """The C++ tests, which a report ends (the preset's options), and the Python tests, whose reports are collected."""
    name = f"{preset}-python"
    reports = fresh_reports(name)
    env = {
        # log_path: a server that a test starts has its stderr read by the test, and is killed as often as it ends.
        variable: f"{options}:log_path={reports}/report",
        "LSAN_OPTIONS": "exitcode=0:print_suppressions=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYRE_SANITIZER": preset,
        "PYRE_TEST_LOOPS": loops,
        "PYRE_DEBUG_SLOW_CALLBACKS": "0",  # everything is slow, and tests read stderr
        **sanitized_python(runtimes),
    }
    tests = pytest_step(name, PYTHON, f"build/{preset}/python", ["-m", "not heavy", "-o", "timeout=600", *extra], env)
    tests.reports = reports
    return [ctest_step(f"{preset}-ctest", preset), tests]


def asan_steps(extra: list[str]) -> list[Step]:
    # The quarantine of 256 MB would hide growth, which tests look for.
    options = "detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1:quarantine_size_mb=32"
    runtimes = ["libasan.so", "libstdc++.so.6"]
    # The frameworks bring pure Python into play, so one way of hosting them is enough.
    once = ["-k", "not (test_frameworks and uvloop)", *extra]
    steps = sanitizer_steps("asan-ubsan", runtimes, "ASAN_OPTIONS", options, "asyncio,uvloop+io", once)
    # The interpreter has no frame pointers, so the quick stack of a leaked Python object ends before it comes to our
    # code, and nobody could tell whose it is. Thorough stacks are slow; these tests go through all that allocates.
    name = "asan-ubsan-leaks"
    reports = fresh_reports(name)
    files = [f"tests/asgi/test_{part}.py" for part in ("app_errors", "extensions", "request_body", "response")]
    leaks = pytest_step(name, PYTHON, "build/asan-ubsan/python", ["-k", "asyncio", "-o", "timeout=600", *extra])
    leaks.command[leaks.command.index("tests") : leaks.command.index("tests") + 1] = files
    thorough = f"detect_leaks=1:fast_unwind_on_malloc=0:malloc_context_size=20:log_path={reports}/report"
    leaks.env = {**steps[-1].env, "ASAN_OPTIONS": thorough}
    leaks.reports = reports
    return [*steps, leaks]


def tsan_steps(extra: list[str]) -> list[Step]:
    # exitcode=0: a report is counted by its file; a server must not end with 66 because of a race inside the
    # interpreter.
    options = "exitcode=0:second_deadlock_stack=1"
    # The tests of frameworks bring pure Python into play, and no thread of ours that the others do not.
    extra = ["--ignore=tests/frameworks", *extra]
    steps = sanitizer_steps("tsan", ["libtsan.so"], "TSAN_OPTIONS", options, "asyncio+threads", extra)
    if too_random():
        for step in steps:
            step.command = ["setarch", "-R", *step.command]
    return steps


def fuzz_steps(extra: list[str]) -> list[Step]:
    steps = []
    for program in sorted((BUILD / "fuzz/fuzz").glob("*")):
        if not os.access(program, os.X_OK) or program.is_dir():
            continue
        corpus = BUILD / "fuzz/corpus" / program.name
        corpus.mkdir(parents=True, exist_ok=True)
        seeds = [str(p) for p in [ROOT / "tests/fuzz/corpus" / program.name.removesuffix("_fuzz")] if p.is_dir()]
        limits = [f"-max_total_time={FUZZ_S}", "-rss_limit_mb=2048", "-timeout=25", "-print_final_stats=1"]
        artifacts = RESULTS / program.name
        artifacts.mkdir(parents=True, exist_ok=True)
        command = [str(program), *limits, f"-artifact_prefix={artifacts}/", str(corpus), *seeds]
        steps.append(Step(program.name, command, {"UBSAN_OPTIONS": "print_stacktrace=1"}))
    # A fuzz job without a target would pass for ever.
    return steps or [Step("fuzz-targets-exist", ["false"])]


def py314_steps(extra: list[str]) -> list[Step]:
    library_path = (BUILD / "py314/library_path").read_text().strip()
    env = {"PYRE_TEST_LOOPS": "asyncio", **({"LD_LIBRARY_PATH": library_path} if library_path else {})}
    python = str(BUILD / "py314/venv/bin/python")
    return [pytest_step("python314", python, "build/py314/python", ["-m", "not heavy", *extra], env)]


def package_steps(extra: list[str]) -> list[Step]:
    """What a user does: pip install into an empty environment, then the command from somewhere else."""
    script = f"""
        cd {shlex.quote(str(RESULTS))}
        rm -rf package-venv
        {shlex.quote(PYTHON)} -m venv package-venv
        package-venv/bin/python -m pip install --quiet {shlex.quote(str(ROOT))}
        package-venv/bin/pyre --version
        package-venv/bin/pyre-server --version
        package-venv/bin/python -m pyre --version
        package-venv/bin/python -c 'import pyre._core; print(pyre._core.__file__)'
        # Headers or archives of a library that was built along would be files nobody asked for.
        ! grep -E '[.](h|hpp|a|cmake|pc),' package-venv/lib/*/site-packages/pyre_server-*/RECORD
    """
    wheels = [PYTHON, "-m", "pytest", "tests/packaging", "-p", "no:cacheprovider", "-o", "timeout=600"]
    return [
        Step("package", ["bash", "-ec", script]),
        Step("wheels", [*wheels, f"--junitxml={RESULTS / 'wheels.xml'}", *extra], junit=True),
    ]


JOBS = [
    Job("lint", "clang-format, ruff, mypy, stubtest, the rules of the house", build("release", "_core"), lint_steps),
    Job(
        "unit",
        "the C++ tests, as released (asan, tsan and windows run them with assertions)",
        build("release"),
        lambda extra: [ctest_step("ctest-release", "release")],
    ),
    Job(
        "python",
        "the Python tests on this Python",
        build("release", "_core"),
        lambda extra: [pytest_step("python", PYTHON, "python", extra)],
    ),
    Job("py314", "the Python tests on Python 3.14", [["scripts/setup", "py314"]], py314_steps),
    Job("asan", "C++ and Python tests with AddressSanitizer, LeakSanitizer and UBSan", build("asan-ubsan"), asan_steps),
    Job("tsan", "C++ and Python tests with ThreadSanitizer", build("tsan"), tsan_steps),
    Job(
        "windows",
        "the C++ tests, and the Python tests on Windows CPython 3.11 and 3.14, under Wine",
        [["scripts/setup", "windows"], *build("mingw-wine")]
        + [["scripts/setup", "windows-python", version] for version in ("3.11", "3.14")],
        windows_steps,
    ),
    Job("fuzz", f"each fuzz target for {FUZZ_S} seconds", build("fuzz"), fuzz_steps),
    Job(
        "package",
        "pip install . into an empty environment; the wheels for Linux and Windows",
        [["scripts/build-wheel"], ["scripts/build-windows-wheel"]],
        package_steps,
    ),
    Job(
        "clang-tidy",
        "clang-tidy, on the files that changed since it last passed",
        build("asan-ubsan"),
        lambda extra: [Step("clang-tidy", [PYTHON, "scripts/clang_tidy.py"])],
    ),
    Job(
        "free-threaded",
        "only when named: the Python tests on a free-threaded Python 3.13, which is built at first",
        [["scripts/setup", "py313t"]],
        free_threaded_steps,
        on_demand=True,
    ),
    Job(
        "free-threaded-tsan",
        "only when named: tests/asgi on it, with clang's ThreadSanitizer in the interpreter and in the module",
        [["scripts/setup", "py313t-tsan"]],
        free_threaded_tsan_steps,
        on_demand=True,
    ),
]


class Run:
    """The state of one run: which slots are taken, what was built, what was counted."""

    def __init__(self, extra: list[str]) -> None:
        self.extra = extra
        self.total = Count()
        self.rows: list[tuple[str, float, Count, str]] = []
        self.lock = threading.Lock()
        self.slots = threading.Semaphore(SLOTS)
        self.built: dict[tuple[str, ...], bool] = {}
        self.processes: set[subprocess.Popen[bytes]] = set()

    def execute(self, name: str, command: list[str], env: dict[str, str], log: Path) -> int:
        """Runs a command in its own process group, all output to the log; that group is gone afterwards."""
        with log.open("ab") as output:
            output.write(f"$ {' '.join(command)[:2000]}\n".encode())
            output.flush()
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **env},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            with self.lock:
                self.processes.add(process)
            try:
                return process.wait(STEP_LIMIT_S)
            except subprocess.TimeoutExpired:
                output.write(f"\n{name}: not finished after {STEP_LIMIT_S} s\n".encode())
                return 124
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                with self.lock:
                    self.processes.discard(process)

    def finish(self, name: str, seconds: float, count: Count, log: Path) -> None:
        with self.lock:
            self.total += count
            self.rows.append((name, seconds, count, str(log.relative_to(ROOT))))
            verdict = "FAILED" if count.failed else "passed"
            skipped = f", {count.skipped} skipped" if count.skipped else ""
            print(f"{verdict}  {name:20} {seconds:7.1f} s   {count.passed} passed, {count.failed} failed{skipped}")
            if count.failed:
                for test in failed_names(RESULTS / f"{name}.xml")[:MOST_NAMES]:
                    print(f"    {test}")
                print(f"----- the end of {log.relative_to(ROOT)}\n{tail(log, TAIL_LINES)}\n-----")
            sys.stdout.flush()

    def build_all(self, job: Job) -> bool:
        """Called by one thread only, so builds run one at a time."""
        for command in job.builds:
            key = tuple(command)
            if key not in self.built:
                name = f"build-{job.name}"
                log = RESULTS / f"{name}.log"
                begin = time.monotonic()
                self.built[key] = self.execute(name, command, {}, log) == 0
                took = time.monotonic() - begin
                if not self.built[key]:
                    self.finish(name, took, Count(failed=1), log)
                elif took > 1:
                    with self.lock:
                        self.rows.append((f"{name}: {' '.join(command[:3])}", took, Count(), ""))
            if not self.built[key]:
                return False
        return True

    def step(self, step: Step) -> None:
        with self.slots:
            log = RESULTS / f"{step.name}.log"
            log.unlink(missing_ok=True)
            junit = RESULTS / f"{step.name}.xml"
            junit.unlink(missing_ok=True)
            begin = time.monotonic()
            status = self.execute(step.name, step.command, step.env, log)
            count = count_junit(junit) if step.junit else Count(passed=int(status == 0), failed=int(status != 0))
            if step.junit and ((status != 0 and count.failed == 0) or count.passed + count.failed == 0):
                count.failed += 1  # it crashed, or ran nothing
            if step.again and 0 < count.failed <= MOST_AGAIN and junit.exists():
                count = self.try_again(step, count, log)
            if step.reports:
                found = sanitizer_reports(step.reports)
                count.failed += len(found)
                with log.open("a") as output:
                    output.writelines(f"\n{report[:6000]}\n" for report in found)
            self.finish(step.name, time.monotonic() - begin, count, log)

    def try_again(self, step: Step, first: Count, log: Path) -> Count:
        """What counts when the tests that failed have run once more."""
        assert step.again is not None
        junit = RESULTS / f"{step.name}-again.xml"
        junit.unlink(missing_ok=True)
        status = self.execute(step.name, step.again, step.env, log)
        second = count_junit(junit)
        if second.passed + second.failed != first.failed or (status != 0 and second.failed == 0):
            return first
        with self.lock:
            print(f"again   {step.name:20} {first.failed} failed at first, {second.passed} of them passed then")
            for test in failed_names(RESULTS / f"{step.name}.xml"):
                print(f"    {test}")
        return Count(first.passed + second.passed, second.failed, first.skipped)

    def job(self, job: Job, pool: ThreadPoolExecutor) -> None:
        (RESULTS / f"build-{job.name}.log").unlink(missing_ok=True)
        if not self.build_all(job):
            return
        try:
            steps = job.steps(self.extra)
        except Exception as error:
            log = RESULTS / f"{job.name}.log"
            log.write_text(f"{type(error).__name__}: {error}\n")
            self.finish(job.name, 0.0, Count(failed=1), log)
            return
        for step in steps:
            pool.submit(self.step, step)

    def stop(self) -> None:
        with self.lock:
            for process in self.processes:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/test", description="Runs Pyre's tests.")
    parser.add_argument("jobs", nargs="*", metavar="job", help="default: all but those that run only when named")
    parser.add_argument("--list", action="store_true", help="print the jobs and end")
    own = sys.argv[1:]
    extra: list[str] = []
    if "--" in own:
        own, extra = own[: own.index("--")], own[own.index("--") + 1 :]
    arguments = parser.parse_args(own)
    if arguments.list:
        for job in JOBS:
            print(f"{job.name:18} {job.about}")
        return 0
    unknown = set(arguments.jobs) - {job.name for job in JOBS}
    if unknown:
        parser.error(f"no such job: {', '.join(sorted(unknown))} (see --list)")
    chosen = [job for job in JOBS if (job.name in arguments.jobs if arguments.jobs else not job.on_demand)]

    RESULTS.mkdir(parents=True, exist_ok=True)
    run = Run(extra)
    begin = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        # The pool is larger than the slots, so that a job whose build waits does not keep another's steps from running.
        with ThreadPoolExecutor(max_workers=32) as pool:
            for job in chosen:
                run.job(job, pool)
    except BaseException:
        run.stop()
        raise
    print("\ntimes:")
    for name, seconds, count, _ in sorted(run.rows, key=lambda row: -row[1]):
        print(
            f"  {seconds:7.1f} s  {name:44} {count.passed:6} passed {count.failed:4} failed {count.skipped:4} skipped"
        )
    print(f"  {time.monotonic() - begin:7.1f} s  altogether")
    print(f"{run.total.passed} passed, {run.total.failed} failed")
    return 1 if run.total.failed else 0


if __name__ == "__main__":
    sys.exit(main())
