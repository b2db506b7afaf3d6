"""Which of the reports that sanitizers leave are about our code."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

# A sanitizer sees the whole process. The interpreter and other extensions are not ours to fix, so of leaks and races
# only those count that have one of our frames; every other kind of report (use after free, undefined behaviour)
# always counts.
OUR_FRAME = re.compile(r"/_core\.cpython|/src/(platform|net|http|asgi|framework)/|pyre::")
LEAK_START = re.compile(r"^(?:Direct|Indirect) leak of ", re.MULTILINE)
# The leak check itself fell over: it looks at the thread-local storage of threads that are just ending.
LEAK_CHECK_BROKE = re.compile(
    r"^Tracer caught signal 11.*\n.*LeakSanitizer has encountered a fatal error", re.MULTILINE
)
RACE_START = re.compile(r"^WARNING: ThreadSanitizer: ", re.MULTILINE)


def sanitizer_reports(folder: Path) -> list[str]:
    """The reports that count, each as text."""
    found = []
    for path in sorted(folder.glob("*")):
        text = path.read_text(errors="replace")
        if "ThreadSanitizer" in text:
            found += [part for part in pieces(text, RACE_START) if OUR_FRAME.search(part)]
        elif "LeakSanitizer: detected memory leaks" in text:
            found += [part for part in pieces(text, LEAK_START) if OUR_FRAME.search(part)]
        elif text.strip() and not LEAK_CHECK_BROKE.search(text):
            found.append(text)
    return found


def pieces(text: str, start: re.Pattern[str]) -> Iterable[str]:
    starts = [match.start() for match in start.finditer(text)]
    for begin, end in zip(starts, [*starts[1:], len(text)], strict=True):
        yield text[begin:end]
