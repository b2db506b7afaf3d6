"""Runs clang-tidy on every source file of ours, and remembers which ones passed.

    scripts/clang_tidy.py             as the job of ./scripts/test does
    scripts/clang_tidy.py --analyzer  with the static analyzer, too, which takes three times as long: before a release

A file is checked again only if it, a header of ours that it includes, its compile command or .clang-tidy has changed:
all of src takes minutes on two cores, and nearly nothing changes between two runs. Needs build/asan-ubsan, built.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build/asan-ubsan"
PASSED = ROOT / "build/clang-tidy"
TIDY = "clang-tidy-16"
CHECKS = "" if "--analyzer" in sys.argv else "-clang-analyzer-*"  # added to those of .clang-tidy


def dependencies() -> dict[str, list[Path]]:
    """Which files each object was made from, as ninja noted them."""
    text = subprocess.run(["ninja", "-C", str(BUILD), "-t", "deps"], check=True, capture_output=True, text=True).stdout
    result: dict[str, list[Path]] = {}
    current: list[Path] = []
    for line in text.splitlines():
        if line.startswith("    "):
            current.append((BUILD / line.strip()).resolve())
        elif ": #deps" in line:
            current = result.setdefault(line.split(":", 1)[0], [])
    return result


def fingerprint(command: str, files: list[Path]) -> str:
    digest = hashlib.sha256(f"{CHECKS} {command}".encode())
    digest.update((ROOT / ".clang-tidy").read_bytes())
    for path in sorted(set(files)):
        if path.is_relative_to(ROOT / "src") or path.is_relative_to(ROOT / "tests"):
            digest.update(str(path).encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def to_check() -> Iterator[tuple[Path, Path]]:
    """(source, the mark that it passed) for each file that has to be looked at."""
    made_from = dependencies()
    for entry in json.loads((BUILD / "compile_commands.json").read_text()):
        source = Path(entry["file"]).resolve()
        if not source.is_relative_to(ROOT / "src"):
            continue
        output = entry.get("output") or entry["command"].split(" -o ")[1].split()[0]
        mark = PASSED / fingerprint(entry["command"], made_from.get(output, [source]))
        if not mark.exists():
            yield source, mark


def check(item: tuple[Path, Path]) -> str:
    source, mark = item
    # The commands are gcc's; clang does not know each of its warnings.
    command = [
        TIDY,
        "-p",
        str(BUILD),
        "--quiet",
        f"--checks={CHECKS}",
        "--extra-arg=-Wno-unknown-warning-option",
        "--extra-arg=-Wno-missing-field-initializers",  # of PyTypeObject: clang knows no PyVarObject_HEAD_INIT idiom
        str(source),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode == 0:
        mark.touch()
        return ""
    return f"{source.relative_to(ROOT)}:\n{done.stdout}\n{done.stderr[-1000:]}"


def main() -> int:
    PASSED.mkdir(parents=True, exist_ok=True)
    items = list(to_check())
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        complaints = [text for text in pool.map(check, items) if text]
    print("\n".join(complaints))
    print(f"{len(items)} files checked, {len(complaints)} with complaints")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
