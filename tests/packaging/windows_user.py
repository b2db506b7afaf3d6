"""What a user of Windows does: starts the command that pip installed, asks it, and ends it by its stop event. Run by
the Python that has the wheel; imports nothing that is not there."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

PATIENCE_S = 120
EVENT_MODIFY_STATE = 0x0002


def main() -> int:
    scripts = Path(sys.executable).parent / "Scripts"
    version = subprocess.run([scripts / "pyre.exe", "--version"], check=True, capture_output=True, text=True).stdout
    assert version.startswith("Pyre "), version
    name = f"pyre-wheel-test-{os.getpid()}"
    server = subprocess.Popen(
        [scripts / "pyre.exe", "main:app", "--port", "0", "--stop-event", name],
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",  # it writes in the code page of the system
    )
    try:
        assert server.stderr is not None
        said = ""
        found = None
        while found is None:
            line = server.stderr.readline()
            said += line
            assert line, f"it ended: {said}"
            found = re.search(r"http://127\.0\.0\.1:[1-9]\d*", line)
        with urllib.request.urlopen(f"{found.group()}/?name=wheel", timeout=PATIENCE_S) as answer:
            assert (answer.status, answer.read()) == (200, b'{"hello":"wheel"}')
        kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined,unused-ignore]
        kernel32.OpenEventW.restype = ctypes.c_void_p
        event = kernel32.OpenEventW(EVENT_MODIFY_STATE, False, name)
        assert event, "no such event"
        assert kernel32.SetEvent(ctypes.c_void_p(event))
        server.communicate(timeout=PATIENCE_S)
        print(f"served, and ended with {server.returncode}")
        return server.returncode
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    sys.exit(main())
