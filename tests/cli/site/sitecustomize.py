"""Imported by each Python that a test starts on Windows: see command_process.py."""

from __future__ import annotations

import os
import threading

_token = os.environ.pop("PYRE_TEST_SIGNALS", "")  # gone, so that a child of the command has only the group's
if _token or "PYRE_TEST_GROUP" in os.environ:
    from site_events import raise_signals

    threading.Thread(
        target=raise_signals,
        args=(_token or os.environ["PYRE_TEST_GROUP"],),
        kwargs={"group_only": not _token},
        daemon=True,
    ).start()
