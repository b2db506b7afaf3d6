"""What ctest and pytest say of their tests, in the form of JUnit's XML files."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass
class Count:
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __iadd__(self, other: Count) -> Self:
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        return self


def count_junit(path: Path) -> Count:
    count = Count()
    try:
        root = ET.parse(path).getroot()
    except (OSError, ET.ParseError):
        return count
    for suite in [root] if root.tag == "testsuite" else root.iter("testsuite"):
        number = {key: int(suite.get(key) or 0) for key in ("tests", "failures", "errors", "skipped", "disabled")}
        failed = number["failures"] + number["errors"]
        skipped = number["skipped"] + number["disabled"]
        count += Count(number["tests"] - failed - skipped, failed, skipped)
    return count


def failed_names(path: Path) -> list[str]:
    try:
        cases = ET.parse(path).getroot().iter("testcase")
    except (OSError, ET.ParseError):
        return []
    failed = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    return [f"{case.get('classname')} {case.get('name')}" for case in failed]
