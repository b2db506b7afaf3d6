"""What every benchmark script does around its measurements."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from harness import report
from harness.process import BenchError, end_all


def run(script: str, body: Callable[[Path], None]) -> int:
    """Calls `body` with a new folder; afterwards no child process and no folder is left. The script's exit code: 1 for
    a `BenchError`, which is printed under the script's name, 130 for `KeyboardInterrupt`."""
    work = Path(tempfile.mkdtemp(prefix="pyre-bench-"))
    try:
        body(work)
    except BenchError as error:
        print(f"{script}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        end_all()
        shutil.rmtree(work, ignore_errors=True)
    return 0


def end_on_sigterm() -> None:
    """As Ctrl-C does."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def print_machine() -> None:
    machine = report.machine()
    print(f"\n{machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}; commit {report.commit()}")
