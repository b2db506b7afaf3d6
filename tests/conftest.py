"""What all Python tests share: which build of the package is tested, here and in the servers that tests start.

PYRE_PACKAGE_DIR names the folder that holds the package (``build/asan-ubsan/python``, say); without it, ``python/`` of
the source tree is used, where the release preset leaves its module.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE_DIR = Path(os.environ.get("PYRE_PACKAGE_DIR") or ROOT / "python").resolve()

sys.path.insert(0, str(PACKAGE_DIR))
sys.path.insert(1, str(ROOT / "tests/support"))
_others = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry and entry != str(PACKAGE_DIR)]
os.environ["PYTHONPATH"] = os.pathsep.join([str(PACKAGE_DIR), *_others])
