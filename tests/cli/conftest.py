"""The command's tests. Those that start a server need the native module; the others do with a fake of it."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent / "site"))
sys.path.insert(0, str(Path(__file__).parents[1] / "python"))

import fake_core

try:
    import pyre._core  # noqa: F401
except ImportError:
    fake_core.install()
