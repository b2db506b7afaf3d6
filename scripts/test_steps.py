"""What a test job is made of: its steps, and those that several jobs share."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
RESULTS = BUILD / "test"
PYTHON = sys.executable
CORES = os.cpu_count() or 2


@dataclass
class Step:
    """One command. ``junit``: it writes RESULTS/<name>.xml. ``reports``: where sanitizers leave theirs. ``again``: a
    command that runs those of its tests again that failed, and writes RESULTS/<name>-again.xml."""

    name: str
    command: list[str]
    env: dict[str, str] = field(default_factory=dict)
    junit: bool = False
    reports: Path | None = None
    again: list[str] | None = None


@dataclass
class Job:
    """``builds``: commands that run first, in order, one build at a time in the whole run."""

    name: str
    about: str
    builds: list[list[str]]
    steps: Callable[[list[str]], list[Step]]
    on_demand: bool = False  # runs only when it is named


def build(preset: str, *targets: str) -> list[list[str]]:
    make = ["cmake", "--build", f"build/{preset}", "--parallel", str(CORES)]
    return [["cmake", "--preset", preset], make + (["--target", *targets] if targets else [])]


def pytest_step(name: str, python: str, package: str, extra: list[str], env: dict[str, str] | None = None) -> Step:
    options = ["-p", "no:cacheprovider", f"--junitxml={RESULTS / name}.xml"]
    ignored = ["--ignore=tests/tidy_test.py", "--ignore=tests/packaging"]  # they have jobs of their own
    command = [python, "-m", "pytest", "tests", *ignored, *options, *extra]
    return Step(name, command, {"PYRE_PACKAGE_DIR": str(ROOT / package), **(env or {})}, junit=True)


def ctest_step(name: str, preset: str) -> Step:
    return Step(name, ["ctest", "--preset", preset, "--output-junit", str(RESULTS / f"{name}.xml")], junit=True)


def fresh_reports(name: str) -> Path:
    folder = RESULTS / name / "reports"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def too_random() -> bool:
    """gcc 12's runtime, and clang 16's, cannot map their shadow beside that much randomness."""
    randomness = Path("/proc/sys/vm/mmap_rnd_bits")
    return randomness.exists() and int(randomness.read_text()) > 28 and shutil.which("setarch") is not None
