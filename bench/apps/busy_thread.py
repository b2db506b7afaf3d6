"""The raw app beside one CPU-bound Python thread: every GIL hand-over costs up to the 5 ms switch interval."""

from __future__ import annotations

import threading

from raw import app

__all__ = ["app"]


def _burn() -> None:
    number = 1
    while True:
        number = (number * 1103515245 + 12345) % 2147483648


threading.Thread(target=_burn, name="burner", daemon=True).start()
