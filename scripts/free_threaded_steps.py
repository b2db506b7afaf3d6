"""The steps of the jobs on a free-threaded Python, which run only when they are named."""

from __future__ import annotations

import shutil

from test_steps import BUILD, RESULTS, ROOT, Step, fresh_reports, pytest_step, too_random


def free_threaded_steps(extra: list[str]) -> list[Step]:
    # Whoever brings the GIL back (a module that is imported) is named by a RuntimeWarning: in pytest an error, in the
    # servers' output among what no test of tests/asgi and tests/frameworks lets pass.
    env = {"PYRE_TEST_LOOPS": "asyncio,asyncio+loops"}
    return [pytest_step("free-threaded", str(BUILD / "py313t/venv/bin/python"), "build/py313t/python", extra, env)]


def free_threaded_tsan_steps(extra: list[str]) -> list[Step]:
    """The tests that use threads, on an interpreter and a module that are both instrumented."""
    name = "free-threaded-tsan"
    reports = fresh_reports(name)
    packages = next((BUILD / "py313t/venv/lib").glob("python3*/site-packages"))
    suppressions = RESULTS / "free-threaded-suppressions.txt"
    # CPython's own, and what is not ours to mend: see the file.
    own = ROOT / "tests/support/free_threaded_suppressions.txt"
    suppressions.write_text((BUILD / "py313t-tsan/suppressions.txt").read_text() + own.read_text())
    env = {
        "PYTHONPATH": str(packages),
        "PYRE_TEST_PYTHON": str(BUILD / "py313t-tsan/interpreter"),
        "TSAN_OPTIONS": f"exitcode=0:suppressions={suppressions}:log_path={reports}/report:history_size=4",
        "TSAN_SYMBOLIZER_PATH": shutil.which("llvm-symbolizer-16") or "",
        "PYRE_SANITIZER": "tsan",
        "PYRE_TEST_LOOPS": "asyncio,asyncio+loops",
        "PYRE_DEBUG_SLOW_CALLBACKS": "0",
        "PYRE_TEST_HANG_GUARD": "150",  # the interpreter alone starts in ten seconds and more
    }
    options = ["-m", "not heavy", "-o", "timeout=600", *extra]
    tests = pytest_step(name, str(BUILD / "py313t/venv/bin/python"), "build/py313t-tsan/python", options, env)
    tests.command[tests.command.index("tests")] = "tests/asgi"
    tests.reports = reports
    if too_random():
        tests.command = ["setarch", "-R", *tests.command]
    return [tests]
